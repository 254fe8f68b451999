package shard

import (
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"

	"godwit.example/godwit/internal/mailbox"
	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mono/entropy"
	"godwit.example/godwit/internal/protect"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/token"
	"godwit.example/godwit/internal/udp"
	"godwit.example/godwit/internal/wheel"
	"godwit.example/godwit/internal/wire"
)

// Limits of one duty cycle. A train is at most maxTrainBytes, so the output slab has room for one after flushBytes.
const (
	flushTrains   = 16
	flushBytes    = 256 << 10
	maxTrainBytes = 64 << 10
	slabBytes     = flushBytes + maxTrainBytes
	trainsPerTurn = 4                        // trains a connection may build before the others have their turn
	cycleTrains   = maxBatches * flushTrains // trains of a cycle: as many as the entries that it may receive
	publishEvery  = 100 * mono.Millisecond
	noSlot        = ^uint32(0)
	// A sender to a member may be refused twice this many bytes, or a sixteenth of the send buffer, before it is full; what is taken is
	// given back before the sender is told that there is room.
	maxChargeAhead = 4096
	levelApp       = wire.LevelOneRTT
	blockedRetry   = 250 * mono.Microsecond // a full socket is tried again after this
)

// Config is what a shard is made of. The root resolves it; nothing here has a default.
type Config struct {
	Index  int // of the shard within its endpoint
	Socket Socket
	Proto  *proto.Config
	Seed   [32]byte
	Pages  func(n int) []byte // memory outside the Go heap, zeroed, of whole pages
	Drop   func(b []byte)     // gives such memory back until it is touched again, its content may be lost; may be nil

	MaxSlots      int
	MailboxBytes  int
	PoolBytes     int64
	CycleMessages int
	Spin          mono.Duration // how long Run looks for work before it sleeps, while work comes more often than that; 0 is never

	// Hibernate is how long a server's connection has to be idle until it is packed into a record; 0 is never.
	Hibernate mono.Duration

	Throttle *Throttle // of everything the endpoint's connections send; nil is none

	// Server side. NewSession is nil for a shard that only dials.
	App         App
	NewSession  func(params []byte) Session
	HalfOpen    int
	AlwaysRetry bool

	// Authorize, if it is set, is asked about every client whose handshake is complete, on a goroutine of its own; an error ends it.
	Authorize func(out *wire.HandshakeOutput, remote wire.Addr) error

	IDs     IDs // how connection IDs are made; the zero value on shards whose sockets are connected
	Workers *Workers

	// Tick is called every TickEvery, if that is positive.
	TickEvery mono.Duration
	Tick      func(s *Shard, now mono.Time)

	// Clock, if it is set, is read now and then within a cycle, and Slow is told of functions of the application that held the shard up for
	// longer than a millisecond.
	Clock func() mono.Time
	Slow  func(SlowCall)

	// Published, if it is set, is called after the figures that Stats returns were renewed, at most every 100 ms.
	Published func(now mono.Time)

	// Fault, if it is set, is told about panics that were no fault of the application; nil lets them end the process.
	Fault func(s *Shard, value any, stack []byte)
}

// IDs is what makes and reads the connection IDs of a server.
type IDs struct {
	Key      uint64 // hides slots
	Server   uint32
	ResetKey [32]byte // of stateless reset tokens
	RetryKey [32]byte
	Shards   int // real shards; virtual shard v belongs to shard v % Shards
}

// Shard drives the connections of one set of sockets. Step, Run and everything that App is called from belong to one goroutine.
// Send, the other commands, Slot, Do, Dial and Stats may be called by any.
type Shard struct {
	cfg    Config
	index  uint32 // cfg.Index << slotBits
	socket Socket
	shared proto.Shared
	chunks mem.Chunks
	peers  []*[slotChunk]*peer // by slot: those that are awake
	slots  slots
	router *proto.Router // nil where every connection has its own socket

	// One cycle's scratch. It lives here so that nothing escapes.
	scratch  protect.Scratch
	packet   wire.Packet
	path     wire.Path
	header   wire.LongHeader
	train    wire.Train
	outgoing wire.Outgoing
	stranger protect.Keys // of peers that get one answer
	sleeper  protect.Keys // of a connection that hibernates, while a packet is tried
	record   []byte       // of a connection that is being packed
	cookie   [token.MaxRetryLen]byte
	serving  Ref // whose App method runs
	message  proto.Message
	pieces   [maxRun]proto.Piece
	in       udp.ReadBatch
	out      udp.WriteBatch
	slab     []byte // sealed packets of out
	used     int    // bytes of slab
	blocked  bool   // the socket is full
	bufs     [][]byte
	spares   [][]byte
	expired  []uint32
	now      mono.Time

	current uint32 // slot of the connection that is being served, or noSlot
	calling bool   // a method of App runs
	called  Call   // the last one
	watch   watch

	dirtyHead, dirtyTail uint32 // slots+1 with something to build, linked by peer.next
	freeHead, freeTail   uint32 // slots+1 to be used again, oldest first, linked by Slot.link
	sparePeers           []*peer
	live                 int // connections, the closing ones too
	hibernating          int // of them
	records              *mem.Pool
	bySocket             []uint32
	wheel                *wheel.Wheel
	mailbox              *mailbox.Mailbox
	rng                  entropy.Source
	tickAt               mono.Time
	sendAt               mono.Time // when Throttle lets something leave
	restAt               mono.Time // when an idle shard gives memory back
	moved                uint64    // what had come and gone when restAt was set
	spinner              spinner

	resets   resets
	halfOpen halfOpen
	retry    *token.Retry
	hashSeed maphash.Seed
	limits   rates

	counters    Counters
	heldPackets int  // packets held back until their keys are there
	refusing    bool // no new connections
	drained     func()
	inForeign   bool // the current datagram came from another shard
	sendBuffer  int64
	coldAfter   mono.Duration
	chargeAhead int64 // credit that a member's account is charged at once for messages to come
	mailShare   int64 // bytes of the mailbox that one connection, or one group, may fill

	groups   map[uint64]*members // that have or had members here, until they are closed
	seats    []seat              // memberships
	freeSeat uint32              // index + 1 of the first free one
	backlog  backlog             // messages that members have not taken

	_ [mem.CacheLine]byte // other cores write to what follows

	// Reached by other goroutines.
	published publisher
	posted    atomic.Bool // something lies under mu
	stopped   atomic.Bool
	mu        sync.Mutex
	goroutine atomic.Uint64 // that Run runs on
	closed    bool          // Stop was called: nothing is taken any more
	released  bool          // Release was called: results of workers are not taken any more
	control   []func(now mono.Time)
	results   []*handshake
	refused   []Ref                 // senders that are owed App.Writable
	announced map[uint64]*groupPart // groups that nothing was received for so far
	foreign   []foreign             // datagrams that another shard received for this one
	dropped   atomic.Uint64
	running   []func(now mono.Time)
	done      []*handshake
	peerSet   []*Shard // the endpoint's shards, by index
}

// New returns a shard. It holds no goroutine until Run.
func New(now mono.Time, cfg Config) *Shard {
	s := &Shard{
		cfg: cfg, index: uint32(cfg.Index) << slotBits, socket: cfg.Socket,
		slots: newSlots(cfg.MaxSlots),
		wheel: wheel.New(now), rng: entropy.New(cfg.Seed), hashSeed: maphash.MakeSeed(),
		now: now, tickAt: mono.Never, restAt: mono.Never,
	}
	s.sendBuffer, s.mailShare = int64(cfg.Proto.SendBuffer), int64(cfg.MailboxBytes/8)
	s.chargeAhead = min(maxChargeAhead, s.sendBuffer/32)
	if s.coldAfter = coldAfter; cfg.Hibernate > 0 {
		s.coldAfter = min(coldAfter, cfg.Hibernate/2)
	}
	s.slab = cfg.Pages(slabBytes)
	if s.slab == nil {
		s.slab = make([]byte, slabBytes)
	}
	s.spinner = spinner{patience: cfg.Spin, ask: threadDelay}
	s.mailbox = mailbox.New(cfg.MailboxBytes, cfg.Socket.Wake)
	s.records = mem.NewPool(cfg.Pages, 0) // bounded by MaxSlots
	s.shared = proto.Shared{Config: cfg.Proto, Pool: mem.NewPool(cfg.Pages, cfg.PoolBytes), Chunks: &s.chunks}
	if cfg.IDs.Key != 0 {
		s.router = proto.NewRouter(cfg.IDs.Key)
		s.shared.NewID, s.shared.ResetToken = s.newID, s.resetToken
	}
	s.shared.HashKey = s.rng.Uint64()
	s.published.due = mono.Never
	if cfg.NewSession != nil {
		s.halfOpen.init(cfg.HalfOpen, cfg.Pages)
		s.retry = token.NewRetry(cfg.IDs.RetryKey)
	}
	if cfg.TickEvery > 0 && cfg.Tick != nil {
		s.tickAt = now.Add(cfg.TickEvery)
	}
	s.limits.init(now)
	s.snapshot(now) // what the socket was granted is known before the first datagram
	return s
}

// SetPeers tells the shard about the other shards of its endpoint, by index. It is called before Run.
func (s *Shard) SetPeers(all []*Shard) { s.peerSet = all }

// Index returns the shard's number within its endpoint.
func (s *Shard) Index() int { return s.cfg.Index }

// Run drives the shard until Stop.
func (s *Shard) Run() {
	self := Goroutine()
	s.goroutine.Store(self)
	running.Store(self, true)
	defer running.Delete(self)
	clock := s.cfg.Clock
	if clock == nil {
		clock = mono.Now
	}
	for {
		now := clock()
		next := s.Step(now)
		if s.stopped.Load() {
			return
		}
		if next <= now {
			continue
		}
		if s.spinner.look(now, s.counters.Datagrams+s.counters.Trains) {
			s.counters.Spins++
			s.socket.Wait(now, 0)
			continue
		}
		// Where processors are few, whoever this cycle has woken would wait for this thread's until the runtime takes it away from the sleep.
		runtime.Gosched()
		if !s.mailbox.Sleep() {
			continue
		}
		d := mono.Duration(-1)
		if next != mono.Never {
			now = clock()
			d = max(next.Sub(now), 0)
		}
		s.socket.Wait(now, d)
		s.mailbox.Awake()
	}
}

// Step runs one duty cycle and returns when the next one is due: now if there is more to do at once, mono.Never if nothing is
// until a datagram or a wake-up comes.
func (s *Shard) Step(now mono.Time) (next mono.Time) {
	s.now, s.current = now, noSlot
	s.watch.begin(now)
	if s.blocked {
		s.flush()
	}
	more := s.receive(now)
	s.commands(now)
	s.outside(now)
	s.lap()
	s.timers(now)
	s.lap()
	s.transmit(now)
	if s.watch.calls > 0 {
		s.lap()
	}
	if s.busy() && !s.blocked && s.sendAt <= now {
		more = true
	}
	s.publish(now)
	s.rest(now)
	if more || s.posted.Load() {
		return now
	}
	return s.nextDeadline()
}

// expire runs a connection's timers.
func (s *Shard) expire(now mono.Time, slot uint32) {
	defer s.rescue()
	s.current = slot
	p := s.awake(slot)
	p.deadline = mono.Never
	p.conn.HandleTimeout(now)
	s.drain(now, slot, p)
	s.touch(slot, p)
}

// nextDeadline is when the shard has to run again if nothing comes from outside.
func (s *Shard) nextDeadline() mono.Time {
	at := min(s.wheel.Next(), s.tickAt, s.halfOpen.deadline(), s.published.due, s.restAt)
	if s.blocked {
		at = min(at, s.now.Add(blockedRetry))
	}
	if s.busy() {
		at = min(at, s.sendAt)
	}
	return at
}

// timers runs what is due: connections, the tick, and the end of half-open entries.
func (s *Shard) timers(now mono.Time) {
	s.expired = s.wheel.Expired(now, s.expired[:0])
	for _, slot := range s.expired {
		s.expire(now, slot)
		s.lapClosely()
	}
	for slot := s.halfOpen.expire(now); slot != noSlot; slot = s.halfOpen.expire(now) {
		p := s.at(slot)
		if s.halfOpen.entries[p.half].soft {
			s.freeHalfOpen(p)
			continue
		}
		s.counters.HalfOpenExpired++
		s.free(slot, p)
	}
	if now >= s.tickAt {
		missed := now.Sub(s.tickAt) / s.cfg.TickEvery // a late tick leaves the others where they were
		s.tickAt = s.tickAt.Add((missed + 1) * s.cfg.TickEvery)
		s.lapClosely()
		s.enter(Ref{}, CallTick)
		s.cfg.Tick(s, now)
		s.calling = false
	}
}

// Do runs fn on the shard's goroutine between two cycles. Any goroutine may call it; it does not wait. It reports false, and
// fn never runs, if the shard has stopped.
func (s *Shard) Do(fn func(now mono.Time)) bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	s.control = append(s.control, fn)
	s.posted.Store(true)
	s.mu.Unlock()
	s.socket.Wake()
	return true
}

// outside takes what other goroutines left under the mutex: functions, handshake results, datagrams of other shards.
func (s *Shard) outside(now mono.Time) {
	if !s.posted.Load() {
		return
	}
	s.mu.Lock()
	s.posted.Store(false)
	s.running, s.control = s.control, s.running[:0]
	s.done, s.results = s.results, s.done[:0]
	strangers, refused := s.foreign, s.refused
	s.foreign, s.refused = nil, nil
	s.mu.Unlock()
	for i := range strangers {
		s.takeForeign(now, &strangers[i])
	}
	for i, h := range s.done {
		s.done[i] = nil
		s.finish(now, h)
		s.lapClosely()
	}
	for i, fn := range s.running {
		s.running[i] = nil
		fn(now)
	}
	s.answerRefused(refused)
}

// Stop makes Run return after its current cycle. Connections are not closed.
func (s *Shard) Stop() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stopped.Store(true)
	s.socket.Wake()
}
