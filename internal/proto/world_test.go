package proto

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// A world is a pair whose history is a string of bytes: each operation takes a few of them. While both ends are honest it checks the
// promise of every mode and that nobody is left without news; whatever the ends are, it checks the books after every step.
type world struct {
	*pair
	b        []byte // the history that is left
	citizens [2]*citizen
	honest   bool // nothing forged was said so far
	ended    bool // the application ended a connection
	lie      byte // what is said at the end
	apps     [2]*streamApp
	raw      bool // forged frames are part of the history
}

// citizen is the application at one end.
type citizen struct {
	w       *world
	s       *side
	peer    *citizen
	n       uint64 // messages taken
	taken   map[uint64]*posted
	tags    map[uint64]uint64     // tag to message
	next    map[uint16]uint64     // ordered channels: the ID that comes next
	highest map[uint16]int64      // sequenced channels: the newest ID delivered
	newest  map[[2]uint64]int64   // latest channels: the newest message of a key
	waiting []Event               // delivered, and not yet consumed
	hold    bool                  // consume later
	floor   [wire.NumLevels]int64 // the peer has heard that everything up to here arrived
}

// posted is a message that a connection took.
type posted struct {
	channel  uint16
	key      uint64
	size     int
	tag      uint64
	mortal   bool // it has a TTL
	arrived  bool
	outcome  Outcome
	outcomes int
}

var worldChannels = []uint16{0, 1, 2, 3, 4, 7, 9}

func newWorld(t testing.TB, history []byte) *world {
	w := &world{b: history, honest: true}
	seed := uint64(w.byte())
	shape := w.byte()
	w.pair = newPair(t, seed, func(c *Config) {
		if shape&1 != 0 {
			c.Params.InitialMaxData, c.Params.InitialMaxChannel = 24<<10, 16<<10
		}
		c.Params.MaxMessageSize, c.MaxMessageSize = 12<<10, 12<<10
		c.SendBuffer, c.ReassemblyBytes = 64<<10, 32<<10
		c.Plain = shape&2 != 0
		c.ECN = shape&4 == 0
		c.Channels[7].Priority = int8(shape>>3&3) - 1
		c.Channels[9] = ChannelConfig{Mode: Unordered, Weight: 40}
		c.Congestion = shape >> 5 & 1
		c.DeadPeer, c.IdleTimeout, c.Params.MaxIdleTimeout = 0, 0, 0 // whatever the faults, both wait for their end
		c.KeepAlive = mono.Duration(5+15*(shape>>6&1)) * mono.Second // a client that moved and is silent cannot be found
	})
	for i, s := range []*side{w.client, w.server} {
		z := &citizen{
			w: w, s: s, taken: map[uint64]*posted{}, tags: map[uint64]uint64{}, next: map[uint16]uint64{},
			highest: map[uint16]int64{}, newest: map[[2]uint64]int64{},
		}
		s.manual, s.hook, s.written, s.read = true, z.event, z.writes, z.reads
		z.floor = [wire.NumLevels]int64{-1, -1, -1}
		w.citizens[i] = z
		w.apps[i] = newStreamApp(s)
	}
	w.citizens[0].peer, w.citizens[1].peer = w.citizens[1], w.citizens[0]
	for _, z := range w.citizens {
		z.s.c.SetHandshakeDeadline(w.now.Add(1000 * mono.Second))
	}
	w.lie = shape
	if shape&128 == 0 {
		w.connect()
	}
	w.link.loss, w.link.jitter = 0.08, 6*mono.Millisecond
	return w
}

func (w *world) byte() byte {
	if len(w.b) == 0 {
		return 0
	}
	b := w.b[0]
	w.b = w.b[1:]
	return b
}

// someone picks an end.
func (w *world) someone() *citizen { return w.citizens[w.byte()&1] }

// event checks what an application is told.
func (z *citizen) event(e *Event) {
	t := z.w.t
	switch e.Kind {
	case EventMessage:
		e := *e
		e.Payload = bytes.Clone(e.Payload)
		e.Ref = 0
		if z.w.honest {
			z.arrives(&e)
		}
		if z.hold {
			z.waiting = append(z.waiting, e)
		} else {
			z.s.c.Consumed(z.w.now, e.Channel, len(e.Payload))
		}
	case EventGap:
		if !z.w.honest {
			return
		}
		if e.ID != z.next[e.Channel]+uint64(e.N) && z.s.sh.Config.Channels[e.Channel].Mode == Ordered {
			t.Fatalf("%s: a gap of %d before %d, ID %d was next", z.s.name, e.N, e.ID, z.next[e.Channel])
		}
		z.next[e.Channel] = e.ID
	case EventOutcome:
		m := z.taken[z.tags[e.Tag]]
		m.outcome = e.Outcome
		if m.outcomes++; m.outcomes > 1 {
			t.Fatalf("%s: two outcomes of one message", z.s.name)
		}
	case EventClosed:
		if e.App || e.Remote && e.Code == uint64(wire.ApplicationError) {
			z.w.ended = true
		} else if z.w.honest {
			t.Fatalf("%s: honest ends closed with %#x %q", z.s.name, e.Code, e.Payload)
		}
	}
}

// arrives checks a delivered message against the promise of its channel's mode.
func (z *citizen) arrives(e *Event) {
	t, n := z.w.t, binary.BigEndian.Uint64(e.Payload)>>8
	m := z.peer.taken[n]
	if m == nil || m.channel != e.Channel || m.size != len(e.Payload) || m.key != e.Key ||
		!bytes.Equal(e.Payload, payloadOf(make([]byte, len(e.Payload)), e.Channel, n, len(e.Payload))) {
		t.Fatalf("%s: channel %d: message %d is not what was sent: %+v", z.s.name, e.Channel, n, m)
	}
	mode := z.s.sh.Config.Channels[e.Channel].Mode
	if m.arrived && mode != Unreliable {
		t.Fatalf("%s: channel %d: message %d arrived twice", z.s.name, e.Channel, n)
	}
	m.arrived = true
	switch mode {
	case Ordered:
		if e.ID != z.next[e.Channel] {
			t.Fatalf("%s: channel %d: ID %d instead of %d", z.s.name, e.Channel, e.ID, z.next[e.Channel])
		}
		z.next[e.Channel]++
	case Latest:
		k := [2]uint64{uint64(e.Channel), e.Key}
		if last, ok := z.newest[k]; ok && last >= int64(n) {
			t.Fatalf("%s: key %d: value %d after %d", z.s.name, e.Key, n, last)
		}
		z.newest[k] = int64(n)
	case Sequenced:
		if last, ok := z.highest[e.Channel]; ok && last >= int64(e.ID) {
			t.Fatalf("%s: channel %d: ID %d after %d", z.s.name, e.Channel, e.ID, last)
		}
		z.highest[e.Channel] = int64(e.ID)
	}
}

// eachAck calls f for the ranges, descending, of each ACK frame of a packet.
func eachAck(payload []byte, f func(ranges []wire.AckRange)) {
	for _, fr := range parseFrames(payload) {
		if fr.typ == wire.FrameAck || fr.typ == wire.FrameAckECN {
			ranges, _, _, _ := wire.ParseAck(fr.body, make([]wire.AckRange, 0, wire.MaxAckRanges), fr.typ == wire.FrameAckECN)
			f(ranges)
		}
	}
}

// writes checks that an ACK names every packet that arrived, but for those of which the peer has heard. Who is closing does not
// note what arrives any more, and may send what it would have acknowledged with its CLOSE.
func (z *citizen) writes(pk *wire.Packet) {
	if !z.w.honest || z.s.c.State() >= StateClosing {
		return
	}
	eachAck(pk.Payload, func(ranges []wire.AckRange) {
		if len(ranges) >= maxSentRanges {
			return
		}
		for n := int64(ranges[0].Largest); n > z.floor[pk.Level]; n-- {
			if z.s.opened[pk.Level][uint64(n)] && !slices.ContainsFunc(ranges, func(r wire.AckRange) bool {
				return r.Smallest <= uint64(n) && uint64(n) <= r.Largest
			}) {
				z.w.t.Fatalf("%s: packet %d arrived, and the ACK %v does not name it", z.s.name, n, ranges)
			}
		}
	})
}

// reads checks that what an ACK named is settled.
func (z *citizen) reads(pk *wire.Packet) {
	sp := z.s.c.space(pk.Level)
	if !z.w.honest || sp == nil || z.s.c.State() >= StateClosing {
		return
	}
	eachAck(pk.Payload, func(ranges []wire.AckRange) {
		z.peer.floor[pk.Level] = max(z.peer.floor[pk.Level], int64(ranges[0].Largest))
		for i := range sp.sent.packets.len() {
			pn := sp.sent.base + uint64(i)
			for _, r := range ranges {
				if r.Smallest <= pn && pn <= r.Largest && sp.sent.packets.at(i).state != packetAcked {
					z.w.t.Fatalf("%s: packet %d is acknowledged by %v, its state is %d", z.s.name, pn, ranges, sp.sent.packets.at(i).state)
				}
			}
		}
	})
}

// post sends a message that three bytes describe.
func (z *citizen) post() {
	w := z.w
	what, size, extra := w.byte(), int(w.byte()), w.byte()
	m := &posted{channel: worldChannels[int(what)%len(worldChannels)], size: 8 + size*4}
	switch {
	case what > 250:
		m.size = 8 + size*47
	case what > 200:
		m.size = 1000 + size*4
	}
	mode := z.s.sh.Config.Channels[m.channel].Mode
	msg := Message{Channel: m.channel}
	if mode == Latest {
		m.key = uint64(extra >> 6)
		msg.Key = m.key
	}
	if extra&3 == 0 {
		m.mortal = true
		msg.TTL = mono.Duration(1+extra&63) * 3 * mono.Millisecond
	}
	n := z.n + 1
	if extra&4 != 0 {
		m.tag = n
		msg.Tag = n
		z.tags[n] = n
	}
	msg.Payload = payloadOf(make([]byte, m.size), m.channel, n, m.size)
	z.taken[n] = m
	z.n = n
	if r := z.s.send(&msg); r != SendOK {
		delete(z.taken, n)
		if m.outcomes > 0 {
			w.t.Fatalf("%s: an outcome of a message that was refused", z.s.name)
		}
	}
	z.s.drain()
}

// consume gives credit back for what waits.
func (z *citizen) consume(n int) {
	for range min(n, len(z.waiting)) {
		e := z.waiting[0]
		z.waiting = z.waiting[1:]
		z.s.c.Consumed(z.w.now, e.Channel, len(e.Payload))
	}
}

// play runs the whole history.
func (w *world) play() {
	for len(w.b) > 0 {
		w.operation()
		w.settle()
		w.books()
	}
}

// settle lets both ends say what they have to say, and runs timers that are due. It must come to an end.
func (w *world) settle() {
	for _, s := range []*side{w.client, w.server} {
		for i := 0; ; i++ {
			s.flush()
			at := s.c.NextDeadline()
			if at > w.now {
				break
			}
			if i == 20 {
				w.t.Fatalf("%s: a deadline %v in the past comes again and again", s.name, w.now.Sub(at))
			}
			s.c.HandleTimeout(w.now)
			s.drain()
		}
	}
}

// books compares what is counted with what there is.
func (w *world) books() {
	for _, s := range []*side{w.client, w.server} {
		c := &s.c
		if c.State() != StateConnected && c.State() != StateHandshaking {
			continue
		}
		flight := 0
		for l := range wire.Level(wire.NumLevels) {
			if sp := c.space(l); sp != nil {
				flight += w.spaceBooks(s, sp)
			}
		}
		if flight != c.bytesInFlight {
			w.t.Fatalf("%s: %d bytes in flight, counted as %d", s.name, flight, c.bytesInFlight)
		}
		if c.probes > maxProbes || len(c.peer.retire) > maxRetired || len(c.ids.issued) > maxLocalIDs || len(c.peer.spare) >= maxPeerIDs {
			w.t.Fatalf("%s: %d probes, %d IDs to retire, %d issued, %d spare", s.name, c.probes, len(c.peer.retire), len(c.ids.issued), len(c.peer.spare))
		}
		if !c.validated && s.bytes > amplification*s.received {
			w.t.Fatalf("%s: %d bytes to an address that sent %d", s.name, s.bytes, s.received)
		}
		if n := c.heap(); n > 4<<20 {
			w.t.Fatalf("%s: holds %d bytes", s.name, n)
		}
		if c.msgs.chans != nil {
			checkCounts(w.t, &c.msgs, c.streams)
		}
	}
}

// spaceBooks checks one packet-number space, and returns its bytes in flight.
func (w *world) spaceBooks(s *side, sp *space) (flight int) {
	log := &sp.sent
	eliciting, records := 0, uint32(0)
	for i := range log.packets.len() {
		p := log.packets.at(i)
		if p.state == packetOutstanding {
			if p.flags&flagAckEliciting != 0 {
				eliciting++
			}
			if p.flags&flagInFlight != 0 {
				flight += int(p.size)
			}
		}
		if p.first != log.recBase+records {
			w.t.Fatalf("%s: the records of packet %d begin at %d, not at %d", s.name, log.base+uint64(i), p.first, log.recBase+records)
		}
		records += uint32(p.records)
	}
	if eliciting != sp.eliciting || int(records) != log.records.len() {
		w.t.Fatalf("%s: %d ack-eliciting packets counted as %d, %d records as %d", s.name, eliciting, sp.eliciting, records, log.records.len())
	}
	if n := log.packets.len(); n > 0 && log.base+uint64(n) != sp.next || sp.largestAcked >= int64(sp.next) {
		w.t.Fatalf("%s: the log ends at %d, the next number is %d, acknowledged is %d", s.name, log.base+uint64(n), sp.next, sp.largestAcked)
	}
	for i, r := range sp.recv.ranges {
		if r.Smallest > r.Largest || i > 0 && sp.recv.ranges[i-1].Largest+1 >= r.Smallest || len(sp.recv.ranges) > maxReceivedRanges {
			w.t.Fatalf("%s: ranges %v", s.name, sp.recv.ranges)
		}
	}
	return flight
}

// heal ends all faults, lets time pass, and asks whether every promise was kept.
func (w *world) heal() {
	w.link = link{delay: 5 * mono.Millisecond}
	for _, z := range w.citizens {
		z.hold = false
		z.consume(len(z.waiting))
	}
	for _, a := range w.apps {
		a.lazy = false
		for id := range a.ends {
			a.takeAll(id)
		}
	}
	for range 300 { // the longest pause of a back-off is a minute
		w.run(500 * mono.Millisecond)
		if w.quiet() {
			break
		}
	}
	w.settle()
	w.books()
	alive := w.client.c.State() == StateConnected && w.server.c.State() == StateConnected
	if w.honest && !w.ended && !(alive && w.client.c.Confirmed() && w.server.c.Confirmed()) {
		w.t.Fatalf("states %d and %d, the client's handshake is confirmed: %v", w.client.c.State(), w.server.c.State(), w.client.c.Confirmed())
	}
	for _, z := range w.citizens {
		if w.honest && alive {
			z.promises()
		}
	}
	if w.honest && alive {
		w.apps[0].kept(w.apps[1])
		w.apps[1].kept(w.apps[0])
	}
	if w.honest && alive {
		w.lies()
	}
	for _, z := range w.citizens {
		z.s.c.Close(w.now, true, 0, "")
		z.s.drain()
		z.told()
	}
	w.balance()
}

// lies has the client say what must close the connection.
func (w *world) lies() {
	s := w.server
	w.honest = false
	want := wire.ProtocolViolation
	switch w.lie % 3 {
	case 0:
		s.attack(ackOf(s.c.app.next))
	case 1:
		s.c.skipIn = 1
		w.link.blackout = true
		s.say(0, "lost")
		s.flush()
		n := s.c.app.sent.packets.len()
		if n < 2 || s.c.app.sent.packets.at(n-2).state != packetSkipped {
			return // it may not send now
		}
		s.attack(ackOf(s.c.app.next - 2))
	case 2:
		want = wire.FlowControlError
		s.attack(skipFrame(0, 1<<20, 1<<40))
	}
	if e := s.closed; e == nil || e.Code != uint64(want) {
		w.t.Fatalf("lie %d was believed: %+v", w.lie%3, s.closed)
	}
}

// quiet reports whether nothing is left to do.
func (w *world) quiet() bool {
	if w.client.c.State() != StateConnected || w.server.c.State() != StateConnected {
		return w.client.c.State() >= StateDraining && w.server.c.State() >= StateDraining
	}
	for _, z := range w.citizens {
		if !z.s.c.msgs.flushed() || z.s.c.bytesInFlight > 0 {
			return false
		}
	}
	return len(w.flying) == 0
}

// promises checks that every reliable message arrived, unless its time passed or a newer value took its place.
func (z *citizen) promises() {
	t := z.w.t
	newest := map[[2]uint64]uint64{}
	for n, m := range z.taken {
		if k := [2]uint64{uint64(m.channel), m.key}; n > newest[k] {
			newest[k] = n
		}
	}
	for _, n := range slices.Sorted(keysOf(z.taken)) {
		m := z.taken[n]
		mode := z.s.sh.Config.Channels[m.channel].Mode
		missing := !m.arrived && (!m.mortal || m.outcome == Delivered)
		if mode == Latest && missing {
			last := newest[[2]uint64{uint64(m.channel), m.key}]
			missing = n == last
		}
		if mode.Reliable() && missing {
			t.Fatalf("%s: channel %d (%v): message %d of %d bytes never arrived: %+v", z.s.name, m.channel, mode.text(), n, m.size, m)
		}
		if m.arrived && mode.Reliable() && !m.mortal && m.tag != 0 && m.outcome != Delivered && mode != Latest {
			t.Fatalf("%s: channel %d: message %d arrived, and its sender was told %d", z.s.name, m.channel, n, m.outcome)
		}
	}
	if n := z.s.c.msgs.unresolved; n != 0 {
		t.Fatalf("%s: at rest %d messages are unresolved", z.s.name, n)
	}
}

// told checks that each tagged message had its outcome.
func (z *citizen) told() {
	for n, m := range z.taken {
		if m.tag != 0 && m.outcomes != 1 {
			z.w.t.Fatalf("%s: %d outcomes of message %d on channel %d", z.s.name, m.outcomes, n, m.channel)
		}
	}
}

func keysOf(m map[uint64]*posted) func(yield func(uint64) bool) {
	return func(yield func(uint64) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}
