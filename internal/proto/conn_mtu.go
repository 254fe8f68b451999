package proto

import (
	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// mtuState finds the largest datagram that the path carries (RFC 8899, RFC 9000 §14.3): single probes, from the
// ceiling down, and a fall back to the base when large packets alone disappear.
type mtuState struct {
	size     uint16 // in use
	ceiling  uint16
	probe    uint16 // size being probed; 0 = none
	suspect  uint16 // size of the smallest of the large packets lost
	tries    uint8
	lost     uint8 // large packets lost in a row, while smaller ones passed
	probeDue bool
	retryAt  mono.Time // when probing resumes
}

const (
	mtuTries     = 3
	mtuBlackHole = 3
	mtuRetry     = 600 * mono.Second
	mtuStep      = 20 // closer is not worth another probe
)

func (m *mtuState) init(cfg *Config) {
	m.size = uint16(max(cfg.MaxDatagram, minDatagram))
	m.ceiling = uint16(max(cfg.MaxDatagramCeil, int(m.size)))
	m.retryAt = mono.Never
}

// limit applies the peer's max_udp_payload_size.
func (m *mtuState) limit(n int) {
	m.ceiling = uint16(min(int(m.ceiling), n))
	m.size = uint16(min(int(m.size), int(m.ceiling)))
}

// start begins probing with the ceiling, which most paths carry: where nothing better is known it is right at once.
func (m *mtuState) start(mono.Time) {
	if m.ceiling >= m.size+mtuStep {
		m.probe, m.tries, m.probeDue = m.ceiling, 0, true
	}
}

// restart begins anew on another path.
func (m *mtuState) restart(now mono.Time, top uint16) {
	m.size, m.ceiling, m.lost, m.retryAt = minDatagram, top, 0, mono.Never
	m.start(now)
}

// mtuTimeout resumes probing, up to what both ends allow: a path may have become wider (RFC 8899 §5.2, PMTU_RAISE_TIMER).
func (c *Conn) mtuTimeout(now mono.Time) {
	if m := &c.mtu; now >= m.retryAt {
		m.retryAt = mono.Never
		m.ceiling = c.mtuTop()
		m.start(now)
	}
}

// mtuTop is the largest datagram that both ends allow.
func (c *Conn) mtuTop() uint16 {
	return min(uint16(max(c.sh.Config.MaxDatagramCeil, c.sh.Config.MaxDatagram, minDatagram)), c.peerDatagram)
}

// buildMTUProbe builds one probe: a PING and padding. Its loss says nothing about congestion.
func (c *Conn) buildMTUProbe(now mono.Time, buf []byte, t *wire.Train, budget int) bool {
	m := &c.mtu
	size := int(m.probe)
	if budget < size || len(buf) < size || c.move != nil {
		return false
	}
	m.probeDue = false
	s := &c.app
	c.skip(now, s)
	pnLen := wire.PNLen(s.next, s.largestAcked)
	b := wire.AppendShort(buf[:0:size], c.peer.current.Bytes(), 0, pnLen)
	pnOff := len(b)
	b = wire.AppendPN(b, s.next, pnLen)
	recs := s.sent.records.len()
	b = wire.AppendPing(b)
	clear(b[len(b) : size-int(s.tagLen)])
	c.commit(now, wire.LevelOneRTT, t, pnOff, pnLen, size, recs, true, flagMTUProbe)
	t.Len, t.SegmentSize, t.Segments = size, size, 1
	c.spend(now, size)
	return true
}

// mtuAcked takes the probed size into use.
func (c *Conn) mtuAcked(now mono.Time, size int) {
	m := &c.mtu
	if size <= int(m.size) {
		return
	}
	m.size, m.lost, m.probe = uint16(size), 0, 0
	c.cc.SetMaxDatagram(size)
	c.pace.SetMaxDatagram(size)
	m.next(now, c.mtuTop())
}

// mtuLost tries again, then smaller.
func (c *Conn) mtuLost(size int) {
	m := &c.mtu
	if size != int(m.probe) {
		return
	}
	if m.tries++; m.tries < mtuTries {
		m.probeDue = true
		return
	}
	m.ceiling = m.probe - 1
	m.next(c.lastReceived, c.mtuTop())
}

// next halves the distance to the ceiling, or rests: for good if the path carries all that the ends allow.
func (m *mtuState) next(now mono.Time, top uint16) {
	m.probe, m.tries, m.probeDue = 0, 0, false
	if m.ceiling < m.size+mtuStep {
		if top >= m.size+mtuStep {
			m.retryAt = now.Add(mtuRetry)
		}
		return
	}
	m.probe, m.probeDue = m.size+(m.ceiling-m.size+1)/2, true
}

// mtuSuspect notices a black hole: large packets vanish while smaller ones pass. size is that of a lost packet, passed the largest
// of those acknowledged that were sent after it.
func (c *Conn) mtuSuspect(now mono.Time, size, passed uint16) {
	m := &c.mtu
	if size <= minDatagram || size <= passed || m.size <= minDatagram {
		return
	}
	if m.lost == 0 || size < m.suspect {
		m.suspect = size
	}
	if m.lost++; m.lost < mtuBlackHole {
		return
	}
	mark.Hit(markBlackHole)
	c.mtuFallBack(now, min(m.size, m.suspect)-1)
}

// passed ends the suspicion: a packet of that size arrived.
func (m *mtuState) passed(size uint16) {
	if size >= m.suspect {
		m.lost = 0
	}
}

// mtuSilence falls back when probes go unanswered: they may have been too large. The size is searched for again.
func (c *Conn) mtuSilence(now mono.Time) {
	if c.mtu.size > minDatagram {
		mark.Hit(markSilence)
		c.mtuFallBack(now, c.mtu.ceiling)
	}
}

func (c *Conn) mtuFallBack(now mono.Time, ceiling uint16) {
	m := &c.mtu
	m.size, m.ceiling, m.lost = minDatagram, ceiling, 0
	c.cc.SetMaxDatagram(minDatagram)
	c.pace.SetMaxDatagram(minDatagram)
	m.next(now, c.mtuTop())
}
