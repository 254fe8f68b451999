package congestion

import "godwit.example/godwit/internal/mono"

// Kind names a congestion controller.
type Kind uint8

const (
	Adaptive Kind = iota // four states, loss judged by rate and delay; the default
	NewReno              // RFC 9002 §7
	Fixed                // a window and a rate that nothing changes
	numKinds
)

// String returns the controller's name as configuration spells it.
func (k Kind) String() string {
	switch k {
	case Adaptive:
		return "adaptive"
	case NewReno:
		return "newreno"
	case Fixed:
		return "fixed"
	default:
		return "unknown"
	}
}

// State is what a controller is doing. NewReno uses the first three, Fixed
// stays in CongestionAvoidance.
type State uint8

const (
	SlowStart State = iota
	CongestionAvoidance
	FastRecovery
	NetworkProbing
	numStates
)

// String returns the state's name as reports print it.
func (s State) String() string {
	switch s {
	case SlowStart:
		return "slow start"
	case CongestionAvoidance:
		return "congestion avoidance"
	case FastRecovery:
		return "fast recovery"
	case NetworkProbing:
		return "network probing"
	default:
		return "unknown"
	}
}

const (
	initialPackets = 10
	minPackets     = 2
	maxPackets     = 1000

	// maxWindowBytes bounds what the bandwidth-delay product may raise the
	// maximum to, whatever the acknowledgments claim: 20 ms of 100 Gb/s.
	maxWindowBytes = 256 << 20
)

// AckInfo is what one ACK frame newly acknowledged.
type AckInfo struct {
	Bytes    int       // in-flight bytes newly acknowledged
	SentTime mono.Time // when the newest of those packets was sent
	InFlight int       // bytes in flight before these were taken off

	// AppLimited says that the sender did not use the whole window because
	// it had nothing more to send. Such an ACK proves nothing about a larger
	// window and does not grow it (RFC 9002 §7.8). Waiting for the pacer is
	// not being application-limited.
	AppLimited bool
}

// LossInfo is what one ACK frame, or one loss timer, declared lost.
type LossInfo struct {
	Bytes      int       // in-flight bytes declared lost
	SentTime   mono.Time // when the newest of those packets was sent
	InFlight   int       // bytes in flight before these were taken off
	Persistent bool      // the losses prove persistent congestion (RFC 9002 §7.6)
}

// Controller is the congestion controller of one path: a value without
// pointers. New makes one; the zero value is not ready.
type Controller struct {
	kind  Kind
	state State

	maxDatagram   int32
	window        int64     // bytes that may be in flight
	ssthresh      int64     // window at which slow start ends
	credit        int64     // bytes acknowledged towards the next datagram of growth
	recoveryStart mono.Time // the latest reduction; losses of packets sent up to then belong to it
	rate          int64     // Fixed: bytes a second, 0 = unlimited

	adaptive adaptive
}

// New returns a controller in slow start with a window of 10 datagrams. A
// Fixed controller starts at the default maximum of 1,000 datagrams without a
// rate; SetFixed gives it others.
func New(kind Kind, maxDatagram int) Controller {
	c := Controller{kind: kind, maxDatagram: int32(maxDatagram)}
	c.restart(0)
	return c
}

// SetFixed sets the window in bytes and the rate in bytes a second (zero:
// unlimited) of a Fixed controller; others ignore it. A window below the
// minimum is raised to it.
func (c *Controller) SetFixed(window int, rate int64) {
	if c.kind == Fixed {
		c.window = min(max(int64(window), c.minWindow()), maxWindowBytes)
		c.rate = max(rate, 0)
	}
}

// restart puts the controller where a new path starts.
func (c *Controller) restart(now mono.Time) {
	c.credit = 0
	c.recoveryStart = now
	if c.kind == Fixed {
		c.state = CongestionAvoidance
		if c.window == 0 {
			c.window = c.packets(maxPackets)
		}
		return
	}
	c.state = SlowStart
	c.window = c.packets(initialPackets)
	c.ssthresh = maxWindowBytes
	if c.kind == Adaptive {
		c.restartAdaptive(now)
	}
}

func (c *Controller) packets(n int64) int64 { return n * int64(c.maxDatagram) }

func (c *Controller) minWindow() int64 { return c.packets(minPackets) }

// Kind returns which controller this is.
func (c *Controller) Kind() Kind { return c.kind }

// State returns what the controller is doing.
func (c *Controller) State() State { return c.state }

// Window returns the congestion window: no non-probe ack-eliciting packet
// leaves while so many bytes or more are in flight.
func (c *Controller) Window() int { return int(c.window) }

// MinWindow returns the window below which no loss reduces.
func (c *Controller) MinWindow() int { return int(c.minWindow()) }

// MaxWindow returns the window above which nothing grows now.
func (c *Controller) MaxWindow() int { return int(c.maxWindow()) }

// SlowStartThreshold returns the window at which slow start ends.
func (c *Controller) SlowStartThreshold() int { return int(c.ssthresh) }

func (c *Controller) maxWindow() int64 {
	if c.kind == Adaptive {
		return c.adaptive.maxWindow
	}
	return maxWindowBytes
}

// SetMaxDatagram changes the datagram size that path MTU discovery found. The
// window keeps its bytes; only its bounds and its step move.
func (c *Controller) SetMaxDatagram(n int) {
	c.maxDatagram = int32(n)
	if c.kind == Adaptive {
		c.raiseMaximum()
	}
	c.clamp()
}

func (c *Controller) clamp() {
	c.window = max(min(c.window, c.maxWindow()), c.minWindow())
}

// OnSent notes that bytes left at now, a packet or a whole train at once.
// inFlight counts the bytes in flight before them.
func (c *Controller) OnSent(now mono.Time, _, inFlight int) {
	if c.kind == Adaptive && inFlight <= 0 {
		// The silence before must not count as time in which the path
		// delivered nothing.
		c.startRound(now)
	}
}

// OnAck takes what one ACK frame newly acknowledged, after the estimator took
// the frame's sample. It is called once per frame, before OnLoss.
func (c *Controller) OnAck(now mono.Time, a AckInfo, r *RTT) {
	switch c.kind {
	case Adaptive:
		c.ackAdaptive(now, &a, r)
	case NewReno:
		c.ackNewReno(&a)
	}
}

// OnLoss takes packets declared lost. If they prove persistent congestion, it
// also lets the estimator's minimum start anew (RFC 9002 §5.2).
func (c *Controller) OnLoss(now mono.Time, l LossInfo, r *RTT) {
	switch c.kind {
	case Adaptive:
		c.loseAdaptive(now, &l)
	case NewReno:
		c.loseNewReno(now, &l)
	}
	if l.Persistent && r.sampled {
		r.restartMin(now)
	}
}

// OnECN takes a report that the path marked packets as having experienced
// congestion, the newest newly acknowledged of which was sent at sentTime
// (RFC 9002 §7.1). A mark is a deliberate signal, so it needs neither a rate
// nor a delay to be believed.
func (c *Controller) OnECN(now, sentTime mono.Time, r *RTT) {
	if sentTime <= c.recoveryStart {
		return
	}
	switch c.kind {
	case Adaptive:
		c.reduceAdaptive(now)
	case NewReno:
		c.reduceNewReno(now)
	}
}

// OnPathChange starts over on a path of which nothing is known (RFC 9000
// §9.4). Losses of packets sent before now no longer count; the caller
// starts a new RTT estimator as well.
func (c *Controller) OnPathChange(now mono.Time) { c.restart(now) }

// PacingRate returns the rate in bytes a second at which the window should
// leave, for Pacer; zero means unlimited.
//
// The rate is window / smoothedRTT times a gain, so that pacing alone never
// keeps the window from being used (RFC 9002 §7.7). Below a round trip of 1 ms
// it is unlimited: one millisecond of that rate, which may leave as one burst,
// would exceed the window anyway, and a timer per train would cost more than
// the train. Without a sample the window is a permitted burst in itself.
func (c *Controller) PacingRate(r *RTT) int64 {
	if c.kind == Fixed {
		return c.rate
	}
	if !r.sampled || r.Smoothed < burstTime {
		return 0
	}
	fourths := int64(5)
	switch c.state {
	case SlowStart:
		fourths = 8
	case NetworkProbing:
		fourths = 6
	}
	return mulDiv(c.window*fourths/4, int64(mono.Second), int64(r.Smoothed))
}
