package godwit

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"

	"godwit.example/godwit/internal/shard"
)

// side is what a connection has beside the shard for goroutines that wait: the received messages, and what they wait on. It exists from the
// first call that needs it until the connection's slot is used again.
type side struct {
	gen     uint32
	checked atomic.Bool   // somebody has waited who may
	done    chan struct{} // closed when the connection has ended
	streams atomic.Pointer[streamTable]

	mu       sync.Mutex
	fill     []byte         // records from the shard: recordLen bytes and the payload each
	waiting  int            // records in fill
	gaps     map[uint16]int // by channel: where its recordGap begins in fill, if no message of it came later
	running  bool           // Async: the connection is with a worker, or waits for one
	asleep   bool           // a receiver waits on woken
	woken    chan struct{}
	writable chan struct{} // closed and replaced when there is room again
	err      error         // why the connection ended
	peer     *Peer         // what the handshake has proven, nil for nothing

	recv chan struct{} // holds a token while a receiver is at work: one at a time
	read []byte        // messages that were swapped out of fill
	off  int
	owed debt
}

// debt is credit that the shard has not been told of yet.
type debt struct {
	channel uint16
	bytes   int
	count   int
}

const (
	recordLen = 16 // channel 2, kind 2, length 4, key 8
	// debtLimit is how much the application may take before the peer hears of it.
	debtLimit = 16 << 10
)

// recordKind is what a record is about. Receive sees messages only; the others are for Async.
type recordKind uint16

const (
	recordMessage  recordKind = iota
	recordOpen                // nothing
	recordGap                 // channel, key = messages
	recordOutcome             // key = tag, channel = outcome
	recordWritable            // nothing
	recordClose               // nothing; the error is the side's
)

// record is one of them, taken apart.
type record struct {
	kind    recordKind
	channel uint16
	key     uint64
	payload []byte
}

func newSide(gen uint32) *side {
	return &side{
		gen: gen, done: make(chan struct{}), woken: make(chan struct{}, 1), writable: make(chan struct{}), recv: make(chan struct{}, 1),
	}
}

// put appends a record. It runs on the shard. With a limit it reports false when there are so many records already.
func (s *side) put(r record, limit int) bool {
	s.mu.Lock()
	if limit > 0 && s.waiting >= limit {
		s.mu.Unlock()
		return false
	}
	if s.widenGap(&r) {
		s.mu.Unlock()
		return true
	}
	s.fill = binary.LittleEndian.AppendUint16(s.fill, r.channel)
	s.fill = binary.LittleEndian.AppendUint16(s.fill, uint16(r.kind))
	s.fill = binary.LittleEndian.AppendUint32(s.fill, uint32(len(r.payload)))
	s.fill = binary.LittleEndian.AppendUint64(s.fill, r.key)
	s.fill = append(s.fill, r.payload...)
	s.waiting++
	wake := s.asleep
	s.asleep = false
	s.mu.Unlock()
	if wake {
		s.wake()
	}
	return true
}

// widenGap adds a gap to the one before it, if nothing of its channel lies between. Messages are bounded by the credit of their peer; gaps,
// which cost it none, are by this.
func (s *side) widenGap(r *record) bool {
	switch {
	case r.kind == recordMessage && len(s.gaps) > 0:
		delete(s.gaps, r.channel)
	case r.kind == recordGap:
		if at, ok := s.gaps[r.channel]; ok {
			n := s.fill[at+8 : at+16]
			binary.LittleEndian.PutUint64(n, binary.LittleEndian.Uint64(n)+r.key)
			return true
		}
		if s.gaps == nil {
			s.gaps = map[uint16]int{}
		}
		s.gaps[r.channel] = len(s.fill)
	}
	return false
}

func (s *side) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

// room returns a channel that is closed once a refused sender may try again.
func (s *side) room() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writable
}

// opened tells senders that there is room.
func (s *side) opened() {
	s.mu.Lock()
	close(s.writable)
	s.writable = make(chan struct{})
	s.mu.Unlock()
}

// end says that the connection is over.
func (s *side) end(err error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = err
		close(s.done)
	}
	err = s.err
	s.mu.Unlock()
	if t := s.streams.Load(); t != nil {
		t.end(err)
	}
}

func (s *side) cause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// receive takes the oldest message. What the application has taken before counts as consumed when it comes for more, so that a slow
// one holds its peer back.
func (s *side) receive(ctx context.Context, c Conn, buf []byte) (Message, error) {
	if err := s.turn(ctx, c); err != nil {
		return Message{}, err
	}
	defer func() { <-s.recv }()
	for s.off == len(s.read) {
		if err := s.swap(ctx, c); err != nil {
			return Message{}, err
		}
	}
	r := s.next()
	m := Message{Channel: Channel(r.channel), Key: r.key, Payload: append(buf[:0], r.payload...)}
	s.owe(c, r.channel, len(r.payload))
	return m, nil
}

// turn waits until no other goroutine receives.
func (s *side) turn(ctx context.Context, c Conn) error {
	select {
	case s.recv <- struct{}{}:
		return nil
	default:
	}
	if err := s.mayWait(c); err != nil {
		return err
	}
	select {
	case s.recv <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// next takes the oldest record of read, which has one. Its payload lies in read.
func (s *side) next() record {
	b := s.read[s.off:]
	n := int(binary.LittleEndian.Uint32(b[4:]))
	s.off += recordLen + n
	return record{
		channel: binary.LittleEndian.Uint16(b), kind: recordKind(binary.LittleEndian.Uint16(b[2:])),
		key: binary.LittleEndian.Uint64(b[8:]), payload: b[recordLen : recordLen+n : recordLen+n],
	}
}

// owe notes a message that the application has taken, and tells the shard when enough has come together or nothing is left to take.
func (s *side) owe(c Conn, channel uint16, n int) {
	if d := &s.owed; d.count > 0 && d.channel != channel {
		s.pay(c)
	}
	s.owed.channel = channel
	s.owed.bytes += n
	s.owed.count++
	if s.owed.bytes >= debtLimit || s.off == len(s.read) {
		s.pay(c)
	}
}

func (s *side) pay(c Conn) {
	c.shard().Consumed(c.ref(), s.owed.channel, s.owed.bytes, s.owed.count)
	s.owed = debt{}
}

// exchange makes what the shard has put in the part to read. The buffers stay, unless they have grown far beyond what they are used for.
func (s *side) exchange() {
	if cap(s.read) > largeInbox && len(s.fill) < cap(s.read)/8 {
		s.read = nil
	}
	s.read, s.fill = s.fill, s.read[:0]
	s.off, s.waiting = 0, 0
	clear(s.gaps)
}

const largeInbox = 64 << 10

// mayWait is engine.mayWait at the first wait on a connection. It takes microseconds, which is too much for each, and who waits in a
// handler does so from the first time on.
func (s *side) mayWait(c Conn) error {
	if s.checked.Load() {
		return nil
	}
	err := c.ep.engine.mayWait()
	s.checked.Store(err == nil)
	return err
}

// ready reports whether a receiver need not wait.
func (s *side) ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting > 0 || s.err != nil
}

// swap takes what the shard has put in, or waits for it.
func (s *side) swap(ctx context.Context, c Conn) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	if s.waiting > 0 {
		s.exchange()
		s.mu.Unlock()
		return nil
	}
	err := s.err
	s.asleep = err == nil
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if sim := c.ep.engine.sim; sim != nil {
		return sim.Wait(func() bool { return s.ready() || ctx.Err() != nil })
	}
	if err := s.mayWait(c); err != nil {
		return err
	}
	select {
	case <-s.woken:
	case <-s.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

const (
	slotBits  = 24
	slotMask  = 1<<slotBits - 1
	sideChunk = 256
)

// sideTable finds the sides of one shard's connections by slot. Any goroutine may use it. The zero value is empty and small.
type sideTable struct {
	once   sync.Once
	size   int // slots
	chunks []atomic.Pointer[[sideChunk]atomic.Pointer[side]]
}

func (t *sideTable) place(slot uint32) *atomic.Pointer[side] {
	slot &= slotMask
	t.once.Do(func() {
		t.chunks = make([]atomic.Pointer[[sideChunk]atomic.Pointer[side]], (t.size+sideChunk-1)/sideChunk)
	})
	chunk := &t.chunks[slot/sideChunk]
	if chunk.Load() == nil {
		chunk.CompareAndSwap(nil, new([sideChunk]atomic.Pointer[side]))
	}
	return &chunk.Load()[slot%sideChunk]
}

// get returns the side of a connection, nil if it has none.
func (t *sideTable) get(r shard.Ref) *side {
	if s := t.place(r.Slot).Load(); s != nil && s.gen == r.Gen {
		return s
	}
	return nil
}

// obtain returns the side of a connection and makes it if need be. The caller has seen that the connection is still the slot's.
func (t *sideTable) obtain(r shard.Ref) *side {
	at := t.place(r.Slot)
	for {
		old := at.Load()
		if old != nil && old.gen == r.Gen {
			return old
		}
		if fresh := newSide(r.Gen); at.CompareAndSwap(old, fresh) {
			return fresh
		}
	}
}

// drop forgets a side that nobody needs any more.
func (t *sideTable) drop(r shard.Ref, s *side) { t.place(r.Slot).CompareAndSwap(s, nil) }
