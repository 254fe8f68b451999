package proto

import (
	"encoding/binary"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// packer walks over the fields of a connection and either writes them to b or reads them back from it, so that the
// two directions cannot differ. Instants are kept as distances from ref, because the process that unpacks may have
// another clock. Once bad, reading yields zeros.
type packer struct {
	b       []byte
	n       int // bytes read
	ref     mono.Time
	reading bool
	bad     bool
}

// rest returns what is still to be read.
func (k *packer) rest() []byte { return k.b[k.n:] }

// skip consumes n bytes that another parser has read; 0 means that they were malformed.
func (k *packer) skip(n int) {
	if n <= 0 || n > len(k.b)-k.n {
		k.bad = true
		return
	}
	k.n += n
}

func (k *packer) uvarint(v uint64) uint64 {
	if !k.reading {
		k.b = binary.AppendUvarint(k.b, v)
		return v
	}
	if k.bad {
		return 0
	}
	v, n := binary.Uvarint(k.b[k.n:])
	if n <= 0 {
		k.bad = true
		return 0
	}
	k.n += n
	return v
}

// pack packs an unsigned number.
func pack[T ~uint64 | ~uint32 | ~uint16 | ~uint8](k *packer, v *T) {
	got := k.uvarint(uint64(*v))
	if k.reading {
		*v = T(got)
		k.bad = k.bad || uint64(*v) != got
	}
}

// packInt packs a signed number.
func packInt[T ~int64 | ~int](k *packer, v *T) {
	x := int64(*v)
	got := k.uvarint(uint64(x<<1 ^ x>>63))
	if k.reading {
		*v = T(int64(got>>1) ^ -int64(got&1))
	}
}

// time packs an instant; mono.Never and 0 keep their meaning.
func (k *packer) time(t *mono.Time) {
	switch {
	case k.reading:
		switch got := k.uvarint(0); got {
		case 0:
			*t = 0
		case 1:
			*t = mono.Never
		default:
			got -= 2
			*t = k.ref + mono.Time(int64(got>>1)^-int64(got&1))
		}
	case *t == 0:
		k.uvarint(0)
	case *t == mono.Never:
		k.uvarint(1)
	default:
		d := int64(*t - k.ref)
		k.uvarint(uint64(d<<1^d>>63) + 2)
	}
}

// flags packs up to eight booleans into a byte.
func (k *packer) flags(list ...*bool) {
	var bits uint8
	for i, f := range list {
		if *f {
			bits |= 1 << i
		}
	}
	pack(k, &bits)
	for i, f := range list {
		*f = bits>>i&1 != 0
	}
}

// raw packs bytes of a fixed length.
func (k *packer) raw(p []byte) {
	switch {
	case !k.reading:
		k.b = append(k.b, p...)
	case k.bad || len(k.b)-k.n < len(p):
		k.bad = true
	default:
		k.n += copy(p, k.b[k.n:])
	}
}

// bytes packs a slice of at most limit bytes.
func (k *packer) bytes(p *[]byte, limit int) {
	n := k.length(len(*p), limit)
	if k.reading {
		*p = nil
		if n > 0 {
			*p = make([]byte, n)
		}
	}
	k.raw(*p)
}

// text packs a string of at most limit bytes.
func (k *packer) text(s *string, limit int) {
	b := []byte(*s)
	k.bytes(&b, limit)
	*s = string(b)
}

// length packs a count, which must not exceed limit, nor what the rest of a record could hold.
func (k *packer) length(n, limit int) int {
	got := k.uvarint(uint64(n))
	if k.reading && (got > uint64(limit) || got > uint64(len(k.b)-k.n)) {
		k.bad = true
		return 0
	}
	return int(got)
}

// id packs a connection ID.
func (k *packer) id(id *wire.ConnID) {
	b := id.Bytes()
	k.bytes(&b, wire.MaxConnIDLen)
	if k.reading {
		*id, _ = wire.MakeConnID(b)
	}
}

// path packs the two addresses.
func (k *packer) path(p *wire.Path) {
	k.raw(p.Remote[:])
	k.raw(p.Local[:])
}

// spans packs a rangeset.
func (k *packer) spans(r *rangeset) {
	n := k.length(len(*r), 1<<16)
	if k.reading {
		*r = nil
	}
	for i := range n {
		var s span
		if !k.reading {
			s = (*r)[i]
		}
		pack(k, &s.from)
		pack(k, &s.to)
		if k.reading {
			*r = append(*r, s)
		}
	}
}
