package room

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"
)

// A message is a Header and a pattern that depends on the sequence number. Whoever
// delivers it to the wrong member, twice, cut, put together wrongly, or with a bit
// changed is found out.
const (
	HeaderSize = 32
	LeastSize  = HeaderSize
	MostSize   = 64 << 10
)

// A Header identifies a message.
type Header struct {
	Kind   Kind
	Member uint32 // who sent it; of an authority's messages, who it is for
	Seq    uint64 // of its kind, from the same sender
	Time   int64  // when it was due, or when the tick began: CLOCK_MONOTONIC, in nanoseconds
	// Inputs is how many of the member's inputs an authority has taken.
	Inputs uint64
}

// The pattern is a part of one long text: which part, the sequence number says.
// Templates are copied rather than computed, so that the servers' own work is small.
const (
	patterns    = 16
	patternStep = 61 // not a divisor of anything here
)

var text = func() []byte {
	b := make([]byte, MostSize+patterns*patternStep)
	x := uint64(0x9e3779b97f4a7c15)
	for i := range b {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
		b[i] = byte(x >> 32)
	}
	return b
}()

// Pattern is what follows the header of a message of a size.
func Pattern(seq uint64, size int) []byte {
	from := int(seq%patterns) * patternStep
	return text[from : from+size-HeaderSize]
}

// Text is what all patterns are parts of: that of message seq begins at seq % 16 * 61.
func Text() []byte { return text }

// check covers the header.
func (h *Header) check() uint32 {
	x := h.Seq*0x9e3779b97f4a7c15 ^ uint64(h.Time) ^ (h.Inputs+1)*0xc2b2ae3d27d4eb4f ^ (uint64(h.Member)<<8|uint64(h.Kind))*0xa0761d6478bd642f
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return uint32((x ^ x>>29) >> 8)
}

// Append appends a message of a size to b.
func (h *Header) Append(b []byte, size int) []byte {
	b = binary.LittleEndian.AppendUint32(b, h.Member)
	b = binary.LittleEndian.AppendUint32(b, h.check()<<8|uint32(h.Kind))
	b = binary.LittleEndian.AppendUint64(b, h.Seq)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Time))
	b = binary.LittleEndian.AppendUint64(b, h.Inputs)
	return append(b, Pattern(h.Seq, size)...)
}

// Parse reads the header of a message, without a look at the rest: what a server
// needs to know.
func (h *Header) Parse(b []byte) bool {
	if len(b) < HeaderSize {
		return false
	}
	h.Member = binary.LittleEndian.Uint32(b)
	mark := binary.LittleEndian.Uint32(b[4:])
	h.Kind = Kind(mark)
	h.Seq = binary.LittleEndian.Uint64(b[8:])
	h.Time = int64(binary.LittleEndian.Uint64(b[16:]))
	h.Inputs = binary.LittleEndian.Uint64(b[24:])
	return mark>>8 == h.check()&(1<<24-1) && h.Kind >= Hello && h.Kind <= Reliable
}

// decode is Parse of a whole message.
func (h *Header) decode(b []byte, size int) error {
	switch {
	case len(b) != size:
		return fmt.Errorf("%d bytes and not %d", len(b), size)
	case !h.Parse(b):
		return fmt.Errorf("its header is broken")
	case !bytes.Equal(b[HeaderSize:], Pattern(h.Seq, size)):
		return fmt.Errorf("message %d of member %d was changed", h.Seq, h.Member)
	}
	return nil
}

// Now is CLOCK_MONOTONIC, which all processes of a machine share.
func Now() int64 { return epoch + int64(time.Since(started)) }

var (
	started = time.Now()
	epoch   = monotonic()
)
