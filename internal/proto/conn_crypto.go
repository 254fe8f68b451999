package proto

import (
	"godwit.example/godwit/internal/mark"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mutant"
	"godwit.example/godwit/internal/wire"
)

// wants reports whether the stream has bytes to send.
func (s *cryptoStream) wants() bool { return len(s.resend) > 0 || int(s.next) < len(s.out) }

// appendCrypto writes CRYPTO frames while they fit: what was lost first.
func (c *Conn) appendCrypto(level wire.Level, sp *space, b []byte, limit int) []byte {
	if c.hs == nil {
		return b
	}
	s := &c.hs.crypto[level]
	for s.wants() {
		from, to := s.next, uint32(len(s.out))
		if len(s.resend) > 0 {
			from, to = s.resend[0].from, s.resend[0].to
		}
		room := limit - len(b) - wire.CryptoOverhead(uint64(from), int(to-from))
		if room <= 0 {
			return b
		}
		to = min(to, from+uint32(room))
		b = wire.AppendCrypto(b, uint64(from), s.out[from:to])
		sp.sent.add(record{kind: recCrypto, channel: uint16(level), off: from, n: to - from})
		s.resend.sub(from, to)
		s.next = max(s.next, to)
	}
	return b
}

// cryptoAcked notes sent bytes that arrived.
func (c *Conn) cryptoAcked(r *record) {
	if c.hs != nil {
		s := &c.hs.crypto[r.channel]
		s.done.add(r.off, r.off+r.n)
		s.resend.sub(r.off, r.off+r.n)
	}
}

// cryptoLost has sent bytes repeated unless they arrived another way.
func (c *Conn) cryptoLost(r *record) {
	if c.hs == nil || mutant.On(mutant.CryptoForgotten) {
		return
	}
	s := &c.hs.crypto[r.channel]
	for from, end := r.off, r.off+r.n; from < end; {
		a, b := s.done.gap(from, end)
		if a >= b {
			return
		}
		s.resend.add(a, b)
		from = b
	}
}

// handleCrypto reassembles the session's bytes and hands on what is in order.
func (c *Conn) handleCrypto(now mono.Time, level wire.Level, b []byte) int {
	offset, data, n := wire.ParseCrypto(b)
	if n < 0 {
		return -1
	}
	if c.hs == nil {
		return n // a ticket's repetition after the session was dropped
	}
	s := &c.hs.crypto[level]
	limit := maxCryptoBuffer
	if s.fixed {
		limit = cap(s.in)
	}
	end := offset + uint64(len(data))
	if end > uint64(s.base)+uint64(limit) {
		c.sh.Stats.CryptoOverflow++
		c.failFrame(now, wire.CryptoBufferExceeded, wire.FrameCrypto, "too many handshake bytes out of order")
		return -1
	}
	from, to := uint32(offset), uint32(end)
	if to <= s.base || from == to {
		return n
	}
	if from < s.base {
		data, from = data[s.base-from:], s.base
	}
	if from == s.base && len(s.have) == 0 && !s.waiting {
		s.base = to
		c.event(Event{Kind: EventCrypto, Level: level, Payload: data})
		return n
	}
	if from > s.base {
		mark.Hit(markCryptoGap)
	}
	if need := int(to - s.base); need > len(s.in) {
		if s.fixed {
			s.in = s.in[:need]
		} else {
			s.in = append(s.in, make([]byte, need-len(s.in))...)
		}
	}
	copy(s.in[from-s.base:], data)
	s.have.add(from, to)
	if len(s.have) > maxCryptoGaps {
		c.sh.Stats.CryptoOverflow++
		c.failFrame(now, wire.CryptoBufferExceeded, wire.FrameCrypto, "handshake bytes in too many pieces")
		return -1
	}
	if s.waiting && s.have[0].from == 0 && s.in[0] != kindTLS {
		c.failFrame(now, wire.CryptoAlert(alertUnexpectedMessage), wire.FrameCrypto, "unknown kind of session")
		return -1
	}
	c.deliverCrypto(level, s)
	return n
}

// kindTLS is the first byte of a handshake that is TLS 1.3: a ClientHello. Other kinds may come to be.
const (
	kindTLS                = 1
	alertUnexpectedMessage = 10 // RFC 8446 §6
)

// deliverCrypto hands on the bytes that have become contiguous. A server gathers the whole first message, so that
// the session starts only with a complete ClientHello.
func (c *Conn) deliverCrypto(level wire.Level, s *cryptoStream) {
	if len(s.have) == 0 || s.have[0].from != s.base {
		return
	}
	n := int(s.have[0].to - s.base)
	if s.waiting {
		if n < helloHeaderLen || n < helloHeaderLen+int(s.in[1])<<16+int(s.in[2])<<8+int(s.in[3]) {
			return
		}
		s.waiting = false
		c.hs.helloDone = true
	}
	c.event(Event{Kind: EventCrypto, Level: level, Payload: s.in[:n]})
	s.base += uint32(n)
	s.have = append(s.have[:0], s.have[1:]...)
	rest := s.in[n:]
	s.in, s.fixed = nil, false // the half-open buffer goes back to its table
	if len(s.have) > 0 {
		s.in = append(s.in, rest...)
	}
}

// HelloDone reports that the whole ClientHello went to the session, so that the half-open entry is free.
func (c *Conn) HelloDone() bool { return c.hs == nil || c.hs.helloDone }

// itoa renders a small number without fmt.
func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}
