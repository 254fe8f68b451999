package congestion

import "godwit.example/godwit/internal/mono"

const (
	// Granularity is the least variance term of a PTO and the least
	// time-threshold loss delay (RFC 9002 §6.1.2, §6.2.1).
	Granularity = mono.Millisecond

	// InitialPTO applies until the first sample. It is what the start values
	// give: 100 ms + 4 x 50 ms.
	InitialPTO = 300 * mono.Millisecond

	// MinRTTWindow bounds how long a minimum stays in force: a sample is
	// forgotten between half a window and a whole window after it was taken.
	// A path that became longer is thus noticed, and an idle connection does
	// not judge today's path by yesterday's minimum.
	MinRTTWindow = 30 * mono.Second

	startMin      = mono.Second
	startSmoothed = 100 * mono.Millisecond
	startVar      = 50 * mono.Millisecond

	minRTO = 100 * mono.Millisecond
	maxRTO = 60 * mono.Second

	persistentThreshold = 3 // kPersistentCongestionThreshold, RFC 9002 §7.6.1
)

// RTT estimates the round-trip time of one path as RFC 9002 §5 says, with a
// minimum that expires. The zero value is ready for use; NewRTT returns one
// that also reports the customary start values.
type RTT struct {
	Latest   mono.Duration // the newest sample, with the peer's ack delay in it
	Min      mono.Duration // least sample of the last MinRTTWindow, ack delay ignored
	Smoothed mono.Duration // gain 1/8
	Var      mono.Duration // mean deviation, gain 1/4

	adjusted  mono.Duration // the newest sample without the ack delay
	halfStart mono.Time     // when the current half of the window began
	halfMin   mono.Duration // least sample of the current half
	prevMin   mono.Duration // least sample of the half before, 0 if none
	sampled   bool
}

// NewRTT returns an estimator without samples. Until the first sample it
// reports a minimum of 1 s, a smoothed round trip of 100 ms and a variance of
// 50 ms; the first sample replaces all three, so they never weigh on a path
// that has been measured.
func NewRTT() RTT {
	return RTT{Min: startMin, Smoothed: startSmoothed, Var: startVar}
}

// Sampled reports whether the estimator has seen a sample.
func (r *RTT) Sampled() bool { return r.sampled }

// Update takes a sample: the time from sending the largest newly acknowledged
// packet to now, where that packet is ack-eliciting or any newly acknowledged
// one is. ackDelay is what the peer reported, already capped at its
// max_ack_delay once the handshake is confirmed and zero in the Initial space
// (RFC 9002 §5.3). A sample below 1 ns counts as 1 ns.
func (r *RTT) Update(now mono.Time, sample, ackDelay mono.Duration) {
	sample = max(sample, 1)
	r.Latest = sample
	if !r.sampled {
		r.sampled = true
		r.restartMin(now)
		r.Smoothed, r.Var, r.adjusted = sample, sample/2, sample
		return
	}
	r.updateMin(now)
	r.adjusted = sample
	if ackDelay > 0 && sample >= r.Min+ackDelay {
		r.adjusted = sample - ackDelay
	}
	deviation := r.Smoothed - r.adjusted
	if deviation < 0 {
		deviation = -deviation
	}
	r.Var += (deviation - r.Var) / 4
	r.Smoothed += (r.adjusted - r.Smoothed) / 8
}

func (r *RTT) updateMin(now mono.Time) {
	switch age := now.Sub(r.halfStart); {
	case age >= MinRTTWindow: // both halves are out of date
		r.restartMin(now)
		return
	case age >= MinRTTWindow/2:
		r.prevMin, r.halfMin, r.halfStart = r.halfMin, r.Latest, now
	default:
		r.halfMin = min(r.halfMin, r.Latest)
	}
	r.Min = r.halfMin
	if r.prevMin != 0 {
		r.Min = min(r.Min, r.prevMin)
	}
}

// restartMin makes the newest sample the minimum.
func (r *RTT) restartMin(now mono.Time) {
	r.halfStart, r.halfMin, r.prevMin, r.Min = now, r.Latest, 0, r.Latest
}

// PTO returns the probe timeout of RFC 9002 §6.2.1 without back-off:
// smoothedRTT + max(4·rttVar, 1 ms) + maxAckDelay, where maxAckDelay is the
// peer's ack delay as in force (zero in the Initial and Handshake spaces).
// Until the first sample it is InitialPTO.
func (r *RTT) PTO(maxAckDelay mono.Duration) mono.Duration {
	if !r.sampled {
		return InitialPTO
	}
	return r.Smoothed + max(4*r.Var, Granularity) + maxAckDelay
}

// LossDelay returns the time threshold of RFC 9002 §6.1.2: a packet sent this
// long before the largest acknowledged one, or longer, is lost. It is 9/8 of
// the larger of the smoothed and the latest round trip, at least 1 ms.
func (r *RTT) LossDelay() mono.Duration {
	if !r.sampled {
		return InitialPTO * 9 / 8
	}
	longest := max(r.Smoothed, r.Latest)
	return max(longest+longest/8, Granularity)
}

// PersistentDuration returns how long a span of lost ack-eliciting packets
// must be to prove persistent congestion (RFC 9002 §7.6.1). The ack delay
// counts even where a PTO would leave it out.
func (r *RTT) PersistentDuration(maxAckDelay mono.Duration) mono.Duration {
	if !r.sampled {
		return persistentThreshold * (InitialPTO + maxAckDelay)
	}
	return persistentThreshold * r.PTO(maxAckDelay)
}

// RTO returns clamp(smoothedRTT + 4·rttVar, 100 ms, 60 s): the silence after
// which a path counts as failed. It arms no retransmission; PTO does.
func (r *RTT) RTO() mono.Duration {
	if !r.sampled {
		return startSmoothed + 4*startVar
	}
	return min(max(r.Smoothed+4*r.Var, minRTO), maxRTO)
}
