package congestion

import "godwit.example/godwit/internal/mono"

// NewReno is RFC 9002 §7 and Appendix B, with a loss reduction factor of 1/2.

func (c *Controller) ackNewReno(a *AckInfo) {
	if a.SentTime <= c.recoveryStart {
		return // a recovery period ends with the first packet sent during it
	}
	if c.window < c.ssthresh {
		c.state = SlowStart
	} else {
		c.state = CongestionAvoidance
	}
	if c.underused(a) {
		return
	}
	if c.state == SlowStart {
		c.window += int64(a.Bytes)
	} else {
		c.growByOne(int64(a.Bytes))
	}
	c.clamp()
}

func (c *Controller) loseNewReno(now mono.Time, l *LossInfo) {
	if l.SentTime > c.recoveryStart {
		c.reduceNewReno(now)
	}
	if l.Persistent {
		c.window = c.minWindow()
		c.state = SlowStart
		c.recoveryStart = 0
	}
}

func (c *Controller) reduceNewReno(now mono.Time) {
	c.recoveryStart = now
	c.state = FastRecovery
	c.ssthresh = max(c.window/2, c.minWindow())
	c.window = c.ssthresh
	c.credit = 0
}

// growByOne grows the window by one datagram for each window acknowledged.
func (c *Controller) growByOne(acked int64) {
	c.credit += acked
	if c.credit >= c.window {
		c.credit -= c.window
		c.window += int64(c.maxDatagram)
	}
	c.credit = min(c.credit, c.window)
}

// underused reports whether the ACK proves nothing about a larger window. The
// caller's word is not taken alone: a window less than half used cannot have
// been the limit.
func (c *Controller) underused(a *AckInfo) bool {
	return a.AppLimited || int64(a.InFlight) < c.window/2
}
