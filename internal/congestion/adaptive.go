package congestion

import "godwit.example/godwit/internal/mono"

// The adaptive controller has four states.
//
//	slow start            +1 byte per byte acknowledged, until half the
//	                      maximum, until the delay grows, or until a loss
//	congestion avoidance  +1 datagram per window acknowledged
//	fast recovery         no growth for two round trips after a reduction
//	network probing       +1/2 byte per byte acknowledged, every other round
//
// It differs from NewReno in what it believes. A loss reduces the window only
// if more than 1 % of a sliding window of traffic was lost or if the round
// trip has grown: a stray loss on an otherwise empty path says nothing about
// the window. Growing delay in turn ends slow start and probing before
// anything is lost.
const (
	// Whether the delay has grown is told by the least of some samples without
	// ack delay, which jitter hardly raises, against the minimum of MinRTTWindow. A block of
	// samples ends with the round or, so that probing stops before it has
	// overshot, after eight.
	delayShift   = 3 // grown: by more than 1/8 of the minimum and more than the floor
	delayFloor   = mono.Millisecond
	blockSamples = 8

	lossGamma = 100 // 1/100: the loss rate above which a loss reduces

	// A half of the loss window ends once it can tell 1 % from 2 % and spans
	// several round trips, or when it is old.
	lossHalfDatagrams = 128
	lossHalfRounds    = 4
	lossHalfAge       = 10 * mono.Second

	rateHalfRounds = 10 // half of the window of the delivery rate's maximum

	firstProbeInterval = 8  // rounds between probes
	lastProbeInterval  = 64 // ... after several that found nothing

	recoveryRounds = 2
)

// adaptive is the part of a Controller that only Adaptive uses.
type adaptive struct {
	maxWindow int64 // 1,000 datagrams, or twice the bandwidth-delay product

	roundStart mono.Time     // the round ends when a packet sent at or after this is acknowledged
	roundAcked int64         // bytes acknowledged in it
	blockMin   mono.Duration // least RTT sample of the block

	probeBase int64 // the largest window that a whole round has shown to be free of queueing

	// Bytes acknowledged and lost in the current and the previous half of
	// the loss window.
	acked, lost [2]int64
	halfStart   mono.Time

	best [2]int64 // highest delivery rate of the current and the previous half, bytes a second

	rounds        uint16 // complete rounds in this state
	probeInterval uint16
	halfRounds    uint8
	bestRounds    uint8
	blockSize     uint8
	roundUsed     bool // some ACK of the round was not application-limited
	delayGrown    bool // verdict on the latest complete block
}

func (c *Controller) restartAdaptive(now mono.Time) {
	c.adaptive = adaptive{
		maxWindow:     c.packets(maxPackets),
		probeInterval: firstProbeInterval,
		halfStart:     now,
	}
	// Half the maximum: one more doubling cannot overshoot the maximum.
	c.ssthresh = c.adaptive.maxWindow / 2
	c.startRound(now)
}

func (c *Controller) enter(s State) {
	c.state = s
	c.adaptive.rounds = 0
	c.credit = 0
}

func (c *Controller) startRound(now mono.Time) {
	a := &c.adaptive
	a.roundStart = now
	a.roundAcked, a.roundUsed = 0, false
}

func (c *Controller) ackAdaptive(now mono.Time, info *AckInfo, r *RTT) {
	a := &c.adaptive
	bytes := int64(info.Bytes)
	a.acked[0] += bytes
	a.roundAcked += bytes
	used := !c.underused(info)
	a.roundUsed = a.roundUsed || used
	roundEnds := info.SentTime >= a.roundStart
	if c.judgeDelay(r, roundEnds) {
		c.answerDelay(now)
	}
	if roundEnds {
		c.endRound(now, r)
	}
	if used {
		c.growAdaptive(bytes)
	}
}

func (c *Controller) growAdaptive(acked int64) {
	switch c.state {
	case SlowStart:
		c.window += acked
		if c.window >= c.ssthresh {
			// Nothing has spoken against a larger window yet, so the
			// first probe is due with the first clean round.
			c.window = max(c.ssthresh, c.minWindow())
			c.enter(CongestionAvoidance)
			c.adaptive.rounds = c.adaptive.probeInterval
		}
	case CongestionAvoidance:
		c.growByOne(acked)
	case NetworkProbing:
		if c.adaptive.rounds%2 == 0 {
			c.window += acked / 2
		}
	}
	c.clamp()
}

// judgeDelay adds the newest sample to its block and, if the block ends,
// judges it. It reports whether the delay is found to have grown.
func (c *Controller) judgeDelay(r *RTT, roundEnds bool) bool {
	a := &c.adaptive
	if a.blockSize == 0 || r.adjusted < a.blockMin {
		a.blockMin = r.adjusted
	}
	a.blockSize++
	if a.blockSize < blockSamples && !roundEnds {
		return false
	}
	a.delayGrown = a.blockMin > r.Min+max(r.Min>>delayShift, delayFloor)
	a.blockSize = 0
	return a.delayGrown
}

// answerDelay stops the two states that grow fast.
func (c *Controller) answerDelay(now mono.Time) {
	a := &c.adaptive
	switch {
	case c.state == SlowStart && a.roundUsed:
		c.ssthresh = c.window
		c.enter(CongestionAvoidance)
	case c.state == NetworkProbing:
		// The probe built the queue; the window that did not is known. If
		// the queue overflowed as well, those losses have been answered.
		c.window = max(a.probeBase, c.minWindow())
		c.recoveryStart = now
		c.scheduleProbe()
		c.enter(CongestionAvoidance)
	}
}

// endRound judges the round that this ACK completes and begins the next.
func (c *Controller) endRound(now mono.Time, r *RTT) {
	a := &c.adaptive
	if a.rounds < 1<<15 {
		a.rounds++
	}
	if a.roundUsed {
		c.sampleRate(now, r)
	}
	c.turnLossWindow(now)
	switch c.state {
	case CongestionAvoidance:
		if a.roundUsed && !a.delayGrown && a.rounds >= a.probeInterval && !c.lossy() {
			a.probeBase = c.window
			c.enter(NetworkProbing)
		}
	case FastRecovery:
		if a.rounds >= recoveryRounds {
			c.enter(CongestionAvoidance)
		}
	case NetworkProbing:
		c.continueProbe()
	}
	c.startRound(now)
}

// continueProbe decides after a round of probing. Growth shows in the delay
// only a round trip later, so a probe grows for one round and watches for one:
// it never runs more than one step ahead of what it has seen.
func (c *Controller) continueProbe() {
	a := &c.adaptive
	if a.rounds%2 != 0 {
		return
	}
	a.probeBase = c.window
	if !a.roundUsed || c.window >= a.maxWindow {
		c.scheduleProbe()
		c.enter(CongestionAvoidance)
	}
}

// scheduleProbe sets when the next probe is due: soon after one that found
// room, later after one that did not.
func (c *Controller) scheduleProbe() {
	a := &c.adaptive
	if a.rounds > 2 {
		a.probeInterval = firstProbeInterval
	} else {
		a.probeInterval = min(2*a.probeInterval, lastProbeInterval)
	}
}

func (c *Controller) loseAdaptive(now mono.Time, l *LossInfo) {
	a := &c.adaptive
	if l.Persistent {
		c.collapse(now)
		return
	}
	if l.SentTime <= c.recoveryStart {
		return // part of what has been answered already
	}
	a.lost[0] += int64(l.Bytes)
	if !a.delayGrown && !c.lossy() {
		return
	}
	before := c.window
	c.reduceAdaptive(now)
	if !a.delayGrown && int64(l.InFlight) < before/2 {
		// The window was not what filled the path. Any new connection may
		// use the initial window unasked, so going below it helps nobody.
		c.window = max(c.window, min(before, c.packets(initialPackets)))
		c.ssthresh = c.window
	}
}

// reduceAdaptive answers congestion once; losses of packets sent before now
// belong to the same answer.
func (c *Controller) reduceAdaptive(now mono.Time) {
	a := &c.adaptive
	switch c.state {
	case FastRecovery:
		// The queue that the first reduction leaves room in still drains,
		// so halving again would undershoot.
		c.window = c.window * 4 / 5
	case NetworkProbing:
		// 9/10 of the window before the probe: of the inflated one it would
		// keep a third of what has just proved too much.
		c.window = min(c.window, a.probeBase) * 9 / 10
		c.scheduleProbe()
	default:
		c.window /= 2
	}
	c.clamp()
	c.ssthresh = c.window
	c.recoveryStart = now
	c.enter(FastRecovery)
	a.lost = [2]int64{} // a loss is charged once
	c.startRound(now)
}

// collapse answers persistent congestion: the path is as good as new, except
// that half of what it carried is where slow start ends.
func (c *Controller) collapse(now mono.Time) {
	c.ssthresh = max(c.window/2, c.minWindow())
	c.window = c.minWindow()
	c.recoveryStart = now
	c.adaptive.lost = [2]int64{}
	c.adaptive.delayGrown = false
	c.enter(SlowStart)
	c.startRound(now)
}

// lossy reports whether the loss rate of the loss window exceeds gamma.
func (c *Controller) lossy() bool {
	a := &c.adaptive
	lost := a.lost[0] + a.lost[1]
	return lost*lossGamma > a.acked[0]+a.acked[1]+lost
}

func (c *Controller) turnLossWindow(now mono.Time) {
	a := &c.adaptive
	if a.halfRounds < lossHalfRounds {
		a.halfRounds++
	}
	enough := a.halfRounds >= lossHalfRounds && a.acked[0]+a.lost[0] >= c.packets(lossHalfDatagrams)
	if !enough && now.Sub(a.halfStart) < lossHalfAge {
		return
	}
	a.acked = [2]int64{0, a.acked[0]}
	a.lost = [2]int64{0, a.lost[0]}
	a.halfRounds, a.halfStart = 0, now
}

// sampleRate takes the round's delivery rate and moves the maximum with the
// bandwidth-delay product it shows. The minimum round trip stands for the
// empty path, so a standing queue does not raise the product.
func (c *Controller) sampleRate(now mono.Time, r *RTT) {
	a := &c.adaptive
	elapsed := max(int64(now-a.roundStart), 1)
	a.best[0] = max(a.best[0], mulDiv(a.roundAcked, int64(mono.Second), elapsed))
	product := mulDiv(max(a.best[0], a.best[1]), int64(r.Min), int64(mono.Second))
	a.maxWindow = max(c.packets(maxPackets), min(2*min(product, maxWindowBytes), maxWindowBytes))
	if a.bestRounds++; a.bestRounds >= rateHalfRounds {
		a.best = [2]int64{0, a.best[0]}
		a.bestRounds = 0
	}
}

// raiseMaximum keeps the maximum at 1,000 datagrams or more after their size
// changed.
func (c *Controller) raiseMaximum() {
	c.adaptive.maxWindow = max(c.adaptive.maxWindow, c.packets(maxPackets))
}

// LossRate returns the fraction of the loss window's bytes that were lost and
// not yet answered by a reduction.
func (c *Controller) LossRate() float64 {
	a := &c.adaptive
	lost := a.lost[0] + a.lost[1]
	total := a.acked[0] + a.acked[1] + lost
	if total == 0 {
		return 0
	}
	return float64(lost) / float64(total)
}

// DeliveryRate returns the highest rate in bytes a second that recent rounds
// delivered while the window was in use; zero if Adaptive has not seen one.
func (c *Controller) DeliveryRate() int64 { return max(c.adaptive.best[0], c.adaptive.best[1]) }
