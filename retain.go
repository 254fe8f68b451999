package godwit

import (
	"sync"
	"sync/atomic"
)

// Retained is a received message that outlives its handler: a copy in a small buffer of its own, so that keeping a few bytes does
// not keep the batch they came in. It may be passed to other goroutines.
type Retained struct {
	Message
	refs atomic.Int32
	tier int8
	buf  []byte
}

// retainTiers are the sizes of the buffers; larger messages get a buffer that is not used again.
var retainTiers = [...]int{128, 512, 2048, 16384, 65536}

var retained [len(retainTiers)]sync.Pool

// Retain copies the message, so that it may be used after the handler has returned. The caller holds one reference and calls Release when
// it is done; then the buffer is used again.
func (m Message) Retain() *Retained {
	tier := 0
	for tier < len(retainTiers) && retainTiers[tier] < len(m.Payload) {
		tier++
	}
	if tier == len(retainTiers) {
		r := &Retained{Message: m, tier: -1, buf: append([]byte(nil), m.Payload...)}
		r.Payload = r.buf
		r.refs.Store(1)
		return r
	}
	r, _ := retained[tier].Get().(*Retained)
	if r == nil {
		r = &Retained{tier: int8(tier), buf: make([]byte, retainTiers[tier])}
	}
	r.Message = m
	r.Payload = r.buf[:copy(r.buf, m.Payload):len(m.Payload)]
	r.refs.Store(1)
	return r
}

// Share adds a reference, for another holder that will call Release.
func (r *Retained) Share() *Retained {
	if r.refs.Add(1) <= 1 {
		panic("BUG: godwit: a retained message was shared after its release")
	}
	return r
}

// Release drops a reference. After the last one the message must not be used.
func (r *Retained) Release() {
	switch n := r.refs.Add(-1); {
	case n > 0:
	case n < 0:
		panic("BUG: godwit: a retained message was released too often")
	case r.tier >= 0:
		r.Message = Message{}
		retained[r.tier].Put(r)
	}
}
