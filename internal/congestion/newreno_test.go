package congestion

import (
	"testing"

	"godwit.example/godwit/internal/mono"
)

// tester drives a controller without a network: a window at a time.
type tester struct {
	t   testing.TB
	c   Controller
	r   RTT
	now mono.Time
}

func newTester(t testing.TB, kind Kind) *tester {
	return &tester{t: t, c: New(kind, testDatagram), r: NewRTT(), now: begin}
}

// round sends a window, waits for rtt and acknowledges it with n ACKs. The
// sender keeps its window full meanwhile.
func (u *tester) round(rtt mono.Duration, n int) {
	u.t.Helper()
	window := u.c.Window()
	sent := u.now
	u.c.OnSent(u.now, window, window/2)
	u.now = u.now.Add(rtt)
	for i := range n {
		u.r.Update(u.now, rtt, 0)
		u.c.OnAck(u.now, AckInfo{Bytes: window*(i+1)/n - window*i/n, SentTime: sent, InFlight: u.c.Window()}, &u.r)
	}
}

// lose declares bytes lost that were sent at sent.
func (u *tester) lose(bytes int, sent mono.Time) {
	u.c.OnLoss(u.now, LossInfo{Bytes: bytes, SentTime: sent, InFlight: u.c.Window()}, &u.r)
}

func (u *tester) wantWindow(datagrams float64, why string) {
	u.t.Helper()
	if got := float64(u.c.Window()) / testDatagram; got != datagrams {
		u.t.Errorf("window %.2f datagrams, want %.2f: %s", got, datagrams, why)
	}
}

func (u *tester) wantState(s State) {
	u.t.Helper()
	if u.c.State() != s {
		u.t.Errorf("state %v, want %v", u.c.State(), s)
	}
}

func TestNewRenoDoublesInSlowStart(t *testing.T) {
	u := newTester(t, NewReno)
	u.wantWindow(10, "the initial window")
	u.round(20*ms, 1)
	u.wantWindow(20, "slow start doubles")
	u.round(20*ms, 1)
	u.wantWindow(40, "slow start doubles")
	u.wantState(SlowStart)
}

func TestNewRenoHalvesOnceForARoundTripOfLosses(t *testing.T) {
	u := newTester(t, NewReno)
	u.round(20*ms, 1)
	sent := u.now
	u.now = u.now.Add(20 * ms)
	u.lose(testDatagram, sent)
	u.wantWindow(10, "the loss halves")
	u.wantState(FastRecovery)
	u.lose(testDatagram, sent+1)
	u.lose(5*testDatagram, u.now)
	u.wantWindow(10, "packets sent before the reduction belong to it")
	u.now++
	u.lose(testDatagram, u.now)
	u.wantWindow(5, "a packet sent after the reduction is a new loss")
}

func TestNewRenoGrowsByOneDatagramAWindowAfterALoss(t *testing.T) {
	u := newTester(t, NewReno)
	u.round(20*ms, 1)
	sent := u.now
	u.now = u.now.Add(20 * ms)
	u.lose(testDatagram, sent)
	u.c.OnAck(u.now, AckInfo{Bytes: 10 * testDatagram, SentTime: sent, InFlight: 10 * testDatagram}, &u.r)
	u.wantWindow(10, "no growth while recovering")
	u.now++
	u.round(20*ms, 1)
	u.wantWindow(11, "congestion avoidance")
	u.wantState(CongestionAvoidance)
	for range 10 {
		u.round(20*ms, 1)
	}
	u.wantWindow(21, "congestion avoidance")
}

func TestNewRenoCollapsesOnPersistentCongestion(t *testing.T) {
	u := newTester(t, NewReno)
	u.round(20*ms, 1)
	u.round(30*ms, 1)
	u.c.OnLoss(u.now, LossInfo{Bytes: 9 * testDatagram, SentTime: u.now, InFlight: u.c.Window(), Persistent: true}, &u.r)
	u.wantWindow(2, "the minimum")
	u.wantState(SlowStart)
	if u.r.Min != 30*ms {
		t.Errorf("minimum round trip %v: it starts anew from the latest sample (RFC 9002 §5.2)", u.r.Min)
	}
	u.round(20*ms, 1)
	u.wantWindow(4, "slow start follows")
}

func TestNewRenoHalvesOnceForCongestionMarks(t *testing.T) {
	u := newTester(t, NewReno)
	sent := u.now
	u.now = u.now.Add(20 * ms)
	u.c.OnECN(u.now, sent, &u.r)
	u.wantWindow(5, "a mark is a loss")
	u.c.OnECN(u.now, sent, &u.r)
	u.wantWindow(5, "one reduction a round trip")
}

func TestAppLimitedDoesNotGrow(t *testing.T) {
	for _, kind := range []Kind{NewReno, Adaptive} {
		u := newTester(t, kind)
		for range 50 {
			sent := u.now
			u.c.OnSent(u.now, 6*testDatagram, 0)
			u.now = u.now.Add(20 * ms)
			u.r.Update(u.now, 20*ms, 0)
			u.c.OnAck(u.now, AckInfo{Bytes: 6 * testDatagram, SentTime: sent, InFlight: 6 * testDatagram, AppLimited: true}, &u.r)
		}
		u.wantWindow(10, kind.String()+": the application had no more to send")
		for range 50 {
			sent := u.now
			u.c.OnSent(u.now, testDatagram, 0)
			u.now = u.now.Add(20 * ms)
			u.c.OnAck(u.now, AckInfo{Bytes: testDatagram, SentTime: sent, InFlight: testDatagram}, &u.r)
		}
		u.wantWindow(10, kind.String()+": a window less than half used was not the limit, whatever the caller says")
	}
}
