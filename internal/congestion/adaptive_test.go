package congestion

import (
	"testing"

	"godwit.example/godwit/internal/mono"
)

// avoiding returns a tester whose Adaptive controller is in congestion
// avoidance with the given window, on a path of 20 ms without a queue.
func avoiding(t testing.TB, datagrams int64) *tester {
	u := newTester(t, Adaptive)
	u.c.ssthresh = u.c.packets(datagrams)
	for u.c.State() == SlowStart {
		u.round(20*ms, 1)
	}
	u.c.adaptive.rounds = 0 // the probe due after slow start is not wanted here
	u.wantWindow(float64(datagrams), "the set threshold")
	return u
}

// probing takes u from congestion avoidance to the first round of a probe.
func (u *tester) probing() *tester {
	u.t.Helper()
	for range firstProbeInterval + 2 {
		if u.c.State() == NetworkProbing {
			return u
		}
		u.round(20*ms, 1)
	}
	u.t.Fatalf("no probe within %d rounds", firstProbeInterval+2)
	return nil
}

func TestAdaptiveDoublesFromTenDatagrams(t *testing.T) {
	u := newTester(t, Adaptive)
	u.wantState(SlowStart)
	u.wantWindow(10, "the initial window")
	u.round(20*ms, 4)
	u.wantWindow(20, "slow start doubles")
}

func TestSlowStartEndsAtHalfTheMaximumAndProbesFromThere(t *testing.T) {
	u := newTester(t, Adaptive)
	if u.c.MaxWindow() != 1000*testDatagram || u.c.SlowStartThreshold() != 500*testDatagram {
		t.Fatalf("maximum %d, threshold %d", u.c.MaxWindow(), u.c.SlowStartThreshold())
	}
	for u.c.State() == SlowStart {
		u.round(20*ms, 4)
	}
	// The last doubling would have gone to 640: it stops at half, so that no
	// step of slow start can pass the maximum.
	u.wantWindow(500, "half the maximum")
	u.round(20*ms, 1)
	u.wantState(NetworkProbing)
}

func TestSlowStartEndsWhenTheDelayGrows(t *testing.T) {
	u := newTester(t, Adaptive)
	u.round(20*ms, 1)
	u.round(20*ms, 1)
	u.round(23*ms, 1) // by more than an eighth of 20 ms
	u.wantState(CongestionAvoidance)
	if w := u.c.Window(); w > 80*testDatagram {
		t.Errorf("window %d: slow start went on", w)
	}
}

func TestAckDelayIsNotAQueue(t *testing.T) {
	u := newTester(t, Adaptive)
	u.round(20*ms, 1)
	for range 3 {
		sent, window := u.now, u.c.Window()
		u.c.OnSent(u.now, window, window/2)
		u.now = u.now.Add(45 * ms)
		u.r.Update(u.now, 45*ms, 25*ms)
		u.c.OnAck(u.now, AckInfo{Bytes: window, SentTime: sent, InFlight: window}, &u.r)
	}
	u.wantState(SlowStart)
	if u.c.adaptive.delayGrown {
		t.Error("25 ms in which the peer kept its ACK were taken for a queue")
	}
}

func TestOneLateSampleDoesNotEndSlowStart(t *testing.T) {
	u := newTester(t, Adaptive)
	u.round(20*ms, 1)
	sent := u.now
	u.c.OnSent(u.now, u.c.Window(), 0)
	for i := range 16 {
		u.now = u.now.Add(20 * ms)
		rtt := 20 * ms
		if i%3 == 0 {
			rtt = 60 * ms
		}
		u.r.Update(u.now, rtt, 0)
		u.c.OnAck(u.now, AckInfo{Bytes: testDatagram, SentTime: sent - 1, InFlight: u.c.Window()}, &u.r)
	}
	u.wantState(SlowStart)
}

func TestStrayLossOnAnEmptyPathDoesNotReduce(t *testing.T) {
	u := avoiding(t, 100)
	before := u.c.Window()
	for range 5 {
		u.round(20*ms, 1)
		u.c.adaptive.rounds = 0
	}
	u.lose(testDatagram, u.now)
	if u.c.Window() < before || u.c.State() == FastRecovery {
		t.Errorf("one datagram in 500, without delay: window %d, %v", u.c.Window(), u.c.State())
	}
}

func TestStrayLossWithGrownDelayReduces(t *testing.T) {
	u := avoiding(t, 100)
	for range 5 {
		u.round(20*ms, 1)
	}
	u.round(30*ms, 1)
	before := u.c.Window()
	u.lose(testDatagram, u.now)
	if u.c.Window() != before/2 {
		t.Errorf("window %d after a loss behind a queue, want half of %d", u.c.Window(), before)
	}
	u.wantState(FastRecovery)
}

func TestLossAboveGammaReducesWithoutDelay(t *testing.T) {
	u := avoiding(t, 100)
	for range 5 {
		u.round(20*ms, 1)
		u.c.adaptive.rounds = 0
	}
	before := u.c.Window()
	u.lose(7*testDatagram, u.now)
	if u.c.Window() != before/2 {
		t.Errorf("window %d after losing more than 1 %%, want half of %d", u.c.Window(), before)
	}
}

func TestLossRateForgetsOldLosses(t *testing.T) {
	u := avoiding(t, 100)
	u.lose(testDatagram, u.now)
	if u.c.LossRate() == 0 {
		t.Fatal("the loss does not show")
	}
	for range 40 {
		u.round(20*ms, 1)
		u.c.adaptive.rounds = 0
	}
	if got := u.c.LossRate(); got != 0 {
		t.Errorf("loss rate %.4f forty round trips after the only loss: it counts a lifetime", got)
	}
}

func TestLossRateForgetsLossesOfASlowFlowByTime(t *testing.T) {
	u := newTester(t, Adaptive)
	u.lose(60, u.now) // nearly all there was
	u.round(20*ms, 1)
	for range 3 {
		u.now = u.now.Add(lossHalfAge)
		sent := u.now
		u.c.OnSent(u.now, 100, 0)
		u.now = u.now.Add(20 * ms)
		u.c.OnAck(u.now, AckInfo{Bytes: 100, SentTime: sent, InFlight: 100, AppLimited: true}, &u.r)
	}
	if got := u.c.LossRate(); got != 0 {
		t.Errorf("loss rate %.4f half a minute after the only loss", got)
	}
}

func TestLossRateCountsBytesNotPackets(t *testing.T) {
	u := avoiding(t, 100)
	for range 3 {
		u.round(20*ms, 1)
		u.c.adaptive.rounds = 0
	}
	// Thirty small packets are as many as a tenth of the packets in the
	// window, but far below 1 % of its bytes.
	u.c.OnLoss(u.now, LossInfo{Bytes: 30 * 60, SentTime: u.now, InFlight: u.c.Window()}, &u.r)
	if u.c.State() == FastRecovery {
		t.Errorf("reduced for %.4f of the bytes", u.c.LossRate())
	}
}

func TestALossIsChargedOnce(t *testing.T) {
	u := avoiding(t, 100)
	for range 5 {
		u.round(20*ms, 1)
	}
	u.lose(50*testDatagram, u.now)
	u.wantState(FastRecovery)
	for u.c.State() != CongestionAvoidance {
		u.round(20*ms, 1)
	}
	before := u.c.Window()
	u.lose(testDatagram, u.now)
	if u.c.Window() < before {
		t.Error("the losses answered by one reduction made a later stray loss reduce again")
	}
}

func TestAdaptiveReducesOnceARoundTrip(t *testing.T) {
	u := avoiding(t, 100)
	sent := u.now
	u.now = u.now.Add(20 * ms)
	u.lose(10*testDatagram, sent)
	u.wantWindow(50, "the first loss")
	for i := range 5 {
		u.lose(10*testDatagram, sent+mono.Time(i))
		u.c.OnECN(u.now, sent+mono.Time(i), &u.r)
	}
	u.wantWindow(50, "packets sent before the reduction belong to it")
}

func TestFurtherLossInRecoveryTakesAFifth(t *testing.T) {
	u := avoiding(t, 100)
	sent := u.now
	u.now = u.now.Add(20 * ms)
	u.lose(20*testDatagram, sent)
	u.wantWindow(50, "the first loss halves")
	// The next round trip loses packets as well: the queue still drains.
	u.round(20*ms, 1)
	u.wantState(FastRecovery)
	u.lose(20*testDatagram, u.now)
	u.wantWindow(40, "halving again would undershoot")
	u.round(20*ms, 1)
	u.wantState(FastRecovery)
	u.wantWindow(40, "no growth while recovering")
	u.round(20*ms, 1)
	u.wantState(CongestionAvoidance)
}

func TestProbesComeOnASchedule(t *testing.T) {
	u := avoiding(t, 50)
	for i := range firstProbeInterval - 1 {
		u.round(20*ms, 1)
		if u.c.State() != CongestionAvoidance {
			t.Fatalf("%v after %d rounds", u.c.State(), i+1)
		}
	}
	u.round(20*ms, 1)
	u.wantState(NetworkProbing)
}

func TestNoProbeWhileThereIsAQueue(t *testing.T) {
	u := avoiding(t, 50)
	for range 5 * firstProbeInterval {
		u.round(30*ms, 1)
		u.wantState(CongestionAvoidance)
	}
}

func TestNoProbeForAnApplicationLimitedFlow(t *testing.T) {
	u := avoiding(t, 50)
	for range 5 * firstProbeInterval {
		sent := u.now
		u.c.OnSent(u.now, testDatagram, 0)
		u.now = u.now.Add(20 * ms)
		u.c.OnAck(u.now, AckInfo{Bytes: testDatagram, SentTime: sent, InFlight: testDatagram, AppLimited: true}, &u.r)
	}
	u.wantState(CongestionAvoidance)
	u.wantWindow(50, "nothing used it")
}

func TestProbeGrowsByHalfAndThenWatches(t *testing.T) {
	u := avoiding(t, 50).probing()
	base := int(u.c.adaptive.probeBase)
	grown := base + base/2
	if u.c.Window() != grown {
		t.Errorf("window %d after the growing round, want half as much again as %d", u.c.Window(), base)
	}
	u.round(20*ms, 1)
	if u.c.Window() != grown || u.c.State() != NetworkProbing {
		t.Errorf("window %d, %v: a round of watching changes nothing", u.c.Window(), u.c.State())
	}
	u.round(20*ms, 1)
	if u.c.Window() != grown+grown/2 {
		t.Errorf("window %d: a clean round lets the probe go on", u.c.Window())
	}
}

func TestProbeIsLeftWhenTheDelayGrows(t *testing.T) {
	u := avoiding(t, 50).probing()
	start := int(u.c.adaptive.probeBase)
	u.round(24*ms, 8) // the larger window built a queue
	u.wantState(CongestionAvoidance)
	if got := u.c.Window(); got < start || got > start+2*testDatagram {
		t.Errorf("window %d, want that before the probe, %d", got, start)
	}
	// The queue may have overflowed too; that has been answered.
	u.lose(10*testDatagram, u.now)
	if got := u.c.Window(); got < start {
		t.Errorf("window %d: losses of the probe reduced again", got)
	}
}

func TestProbesThatFindNothingBecomeRarer(t *testing.T) {
	u := avoiding(t, 50)
	var waits []int
	for range 4 {
		rounds := 0
		for u.c.State() != NetworkProbing {
			u.round(20*ms, 1)
			rounds++
		}
		waits = append(waits, rounds)
		u.round(30*ms, 1)
		u.wantState(CongestionAvoidance)
	}
	for i := 1; i < len(waits); i++ {
		if waits[i] < 2*waits[i-1]-2 {
			t.Errorf("waits between failing probes %v rounds, want each about twice the one before", waits)
			break
		}
	}
}

func TestLossWhileProbingTakesATenthOfTheWindowBefore(t *testing.T) {
	u := avoiding(t, 50).probing()
	start := int(u.c.adaptive.probeBase)
	u.lose(20*testDatagram, u.now)
	if got := u.c.Window(); got != start*9/10 {
		t.Errorf("window %d, want 9/10 of the %d before the probe: 9/10 of the grown one would still be more than the path took", got, start)
	}
	u.wantState(FastRecovery)
}

func TestStrayLossDoesNotEndAProbe(t *testing.T) {
	u := avoiding(t, 200).probing()
	u.round(20*ms, 1)
	u.lose(testDatagram, u.now)
	u.wantState(NetworkProbing)
}

func TestMaximumFollowsTheBandwidthDelayProduct(t *testing.T) {
	u := newTester(t, Adaptive)
	for range 100 {
		u.round(20*ms, 4)
	}
	if got := u.c.Window(); got <= 1000*testDatagram {
		t.Errorf("window %d on a path that takes everything, want more than 1,000 datagrams", got)
	}
	if u.c.MaxWindow() > maxWindowBytes {
		t.Errorf("maximum %d above the hard limit", u.c.MaxWindow())
	}
}

func TestAStandingQueueDoesNotRaiseTheMaximum(t *testing.T) {
	u := newTester(t, Adaptive)
	// A link of 5 MB/s and 20 ms: what a round delivers is bounded by its
	// length, and a window beyond 100 kB waits in the queue.
	for u.now < begin.Add(MinRTTWindow/2) {
		rtt := max(20*ms, mono.Duration(int64(u.c.Window())*int64(mono.Second)/5_000_000))
		u.round(rtt, 4)
	}
	if got := u.c.MaxWindow(); got != 1000*testDatagram {
		t.Errorf("maximum %d: the product is 100 kB, whatever waits in the queue", got)
	}
}

func TestAdaptiveCollapsesOnPersistentCongestion(t *testing.T) {
	u := avoiding(t, 100)
	u.c.OnLoss(u.now, LossInfo{Bytes: 50 * testDatagram, SentTime: u.now, InFlight: u.c.Window(), Persistent: true}, &u.r)
	u.wantWindow(2, "the minimum")
	u.wantState(SlowStart)
	if u.c.SlowStartThreshold() != 50*testDatagram {
		t.Errorf("threshold %d, want half of what the path carried", u.c.SlowStartThreshold())
	}
}

func TestCongestionMarksReduceAtAnyRate(t *testing.T) {
	u := avoiding(t, 100)
	u.round(20*ms, 1)
	before := u.c.Window()
	u.c.OnECN(u.now, u.now, &u.r)
	if u.c.Window() != before/2 {
		t.Errorf("window %d: a mark is deliberate and needs no rate above gamma", u.c.Window())
	}
}

func TestApplicationLimitedFlowIsNotReducedBelowTheInitialWindow(t *testing.T) {
	u := newTester(t, Adaptive)
	for range 200 { // 3 packets a round trip, one in ten lost
		sent := u.now
		u.c.OnSent(u.now, 3*testDatagram, 0)
		u.now = u.now.Add(20 * ms)
		u.r.Update(u.now, 20*ms, 0)
		u.c.OnAck(u.now, AckInfo{Bytes: 2 * testDatagram, SentTime: sent, InFlight: 3 * testDatagram, AppLimited: true}, &u.r)
		u.c.OnLoss(u.now, LossInfo{Bytes: testDatagram, SentTime: sent, InFlight: testDatagram}, &u.r)
	}
	u.wantWindow(10, "what a new connection may use unasked")
}

func TestPathChangeStartsOver(t *testing.T) {
	for _, kind := range []Kind{Adaptive, NewReno} {
		u := newTester(t, kind)
		u.round(20*ms, 1)
		sent := u.now
		u.now = u.now.Add(20 * ms)
		u.lose(testDatagram, sent)
		u.c.OnPathChange(u.now)
		u.wantWindow(10, "the initial window on a new path")
		u.wantState(SlowStart)
		u.lose(10*testDatagram, u.now)
		u.wantWindow(10, "losses of the old path do not count")
		u.r = NewRTT()
		u.now++
		u.round(50*ms, 1)
		u.wantWindow(20, "slow start on the new path")
	}
}
