// Package impair says what a bad network does to each datagram: delays it,
// loses it, lets another overtake it, doubles it, flips a bit of it, or makes
// it wait in a queue. It moves no bytes and reads no clock: who owns the
// datagrams asks for a verdict and carries it out, in real or virtual time.
//
// Verdicts are a pure function of the seed, the configuration and the calls.
// Moreover each kind of misfortune draws from a stream of its own, indexed by
// the number of the datagram: which datagrams are lost depends on the seed
// and the loss rate only, so two transports, or one with and without jitter,
// meet the same losses.
package impair

import (
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/mono/entropy"
)

// MaxCopies is the most that Config.Copies may be.
const MaxCopies = 10

// MaxQueueDatagrams is the most that Config.QueueDatagrams may be; each takes
// eight bytes.
const MaxQueueDatagrams = 1 << 20

// Config describes one direction of a link. The zero value is a perfect link:
// every zero field means that the link does not do this. Probabilities lie
// between 0 and 1; values out of range count as the nearest one in range.
type Config struct {
	// Delay is what each datagram takes. Jitter adds between nothing and its
	// value to it, uniformly; like a queue it never changes the order.
	Delay, Jitter mono.Duration

	// Loss is the probability that a datagram is lost, independently.
	Loss float64

	// Burst loses datagrams in bursts, in addition to Loss.
	Burst GilbertElliott

	// Reorder is the probability that a datagram takes a detour of up to
	// ReorderDelay, so that later ones overtake it.
	Reorder      float64
	ReorderDelay mono.Duration

	// Duplicate is the probability that a datagram arrives more than once:
	// with one additional copy, or as many as Copies, at most MaxCopies. Each
	// copy comes up to Jitter later.
	Duplicate float64
	Copies    int

	// Corrupt is the probability that one bit of an arriving copy is flipped.
	Corrupt float64

	// Rate is the bottleneck's capacity in bytes a second. Datagrams wait
	// for it in a queue of Queue bytes, QueueDatagrams datagrams, or both, and
	// are dropped if they do not fit; one that finds the link idle always
	// passes. Without either none is dropped. QueueDatagrams is at most
	// MaxQueueDatagrams.
	Rate, Queue    int64
	QueueDatagrams int

	// MTU is the size of the largest datagram that passes; larger ones
	// disappear without a message.
	MTU int

	// Blackouts are intervals in which everything sent is lost.
	Blackouts []Blackout
}

// GilbertElliott is a loss model with two states, drawn for each datagram: in
// the bad state datagrams are lost in bursts. The zero value loses none.
type GilbertElliott struct {
	ToBad, ToGood float64 // probabilities to change the state before a datagram
	LossGood      float64 // probability of a loss in the good state
	LossBad       float64 // and in the bad one; 0 means 1
}

// Bursts returns the model that loses the given share of all datagrams, less
// than 1, in bursts of length datagrams in the mean, 1 or more. Bursts are
// longer where so much loss cannot be had with shorter ones.
func Bursts(loss, length float64) GilbertElliott {
	if !(loss > 0) {
		return GilbertElliott{}
	}
	loss, length = min(loss, 0.999), max(length, 1)
	toGood := min(1/length, (1-loss)/loss)
	return GilbertElliott{ToBad: toGood * loss / (1 - loss), ToGood: toGood}
}

// A Blackout lasts from From until before To.
type Blackout struct{ From, To mono.Time }

// A Verdict is one arrival of a datagram.
type Verdict struct {
	At         mono.Time // when it arrives
	CorruptBit int       // the bit to flip on the way, from the lowest of byte 0 on; -1 = none
}

// Stats counts what a link did.
type Stats struct {
	Sent, SentBytes uint64
	Arrived         uint64 // copies included
	Lost, BurstLost uint64
	QueueDropped    uint64
	BlackedOut      uint64
	TooLarge        uint64
	Reordered       uint64
	Duplicated      uint64 // additional copies
	Corrupted       uint64 // copies
	QueueMost       int64  // bytes that have waited for the bottleneck, or were under way through it, at most
}

// The streams of draws.
const (
	streamLoss = iota
	streamBurstState
	streamBurstLoss
	streamJitter
	streamReorder
	streamReorderDelay
	streamDuplicate
	streamCopies
	streamCopyDelay
	streamCorrupt
	streamCorruptBit
	numStreams
)

// A Link is one direction of a link. It is not safe for concurrent use.
type Link struct {
	cfg   Config
	keys  [numStreams]uint64
	n     uint64 // number of the datagram
	bad   bool   // the burst model's state
	last  mono.Time
	idle  mono.Time   // when the bottleneck has sent all that it accepted
	rest  int64       // what the last division by Rate left over
	ends  []mono.Time // when those that were last accepted have passed; a ring
	end   int         // the oldest of them
	most  int64       // the longest queue at this rate, in nanoseconds
	stats Stats
}

// New returns a link whose misfortunes follow from seed.
func New(cfg Config, seed [32]byte) *Link {
	l := new(Link)
	source := entropy.New(seed)
	for i := range l.keys {
		l.keys[i] = source.Uint64()
	}
	l.SetConfig(cfg)
	return l
}

// SetConfig changes the link from the next datagram on. Those under way keep
// their verdicts, and no later one overtakes them unless it is reordered. The
// link keeps cfg.Blackouts.
func (l *Link) SetConfig(cfg Config) {
	cfg.Delay, cfg.Jitter, cfg.ReorderDelay = max(cfg.Delay, 0), max(cfg.Jitter, 0), max(cfg.ReorderDelay, 0)
	cfg.Copies = min(max(cfg.Copies, 1), MaxCopies)
	cfg.Rate, cfg.Queue = max(cfg.Rate, 0), min(max(cfg.Queue, 0), maxQueue)
	if cfg.Burst.LossBad == 0 {
		cfg.Burst.LossBad = 1
	}
	cfg.QueueDatagrams = min(max(cfg.QueueDatagrams, 0), MaxQueueDatagrams)
	if cfg.QueueDatagrams != l.cfg.QueueDatagrams {
		l.ends, l.end = make([]mono.Time, cfg.QueueDatagrams), 0
	}
	if cfg.Burst.ToBad == 0 {
		l.bad = false // without bursts the link could not leave the bad state
	}
	l.cfg, l.rest, l.most = cfg, 0, 0
}

// maxQueue keeps the queue's length in time within 64 bits at any rate.
const maxQueue = 1 << 33

// Stats returns the link's counters.
func (l *Link) Stats() Stats { return l.stats }

// Send decides on a datagram of size bytes and appends its arrivals to
// verdicts: none if it is lost, several if it is duplicated. Time must not
// run backwards.
func (l *Link) Send(now mono.Time, size int, verdicts []Verdict) []Verdict {
	c, s := &l.cfg, &l.stats
	l.n++
	s.Sent++
	s.SentBytes += uint64(size)
	lost := l.lost()
	for _, b := range c.Blackouts {
		if b.From <= now && now < b.To {
			s.BlackedOut++
			return verdicts
		}
	}
	if c.MTU > 0 && size > c.MTU {
		s.TooLarge++
		return verdicts
	}
	at, fits := l.bottleneck(now, int64(size))
	if !fits {
		s.QueueDropped++
		return verdicts
	}
	if lost != nil {
		*lost++
		return verdicts
	}
	at = max(at.Add(c.Delay).Add(l.upTo(streamJitter, 0, c.Jitter)), l.last)
	if l.happens(streamReorder, 0, c.Reorder) {
		at = at.Add(l.upTo(streamReorderDelay, 0, c.ReorderDelay))
		s.Reordered++
	} else {
		l.last = at
	}
	copies := uint64(1)
	if l.happens(streamDuplicate, 0, c.Duplicate) {
		copies += 1 + l.draw(streamCopies, 0)%uint64(c.Copies)
		s.Duplicated += copies - 1
	}
	for copied := range copies {
		v := Verdict{At: at, CorruptBit: -1}
		if copied > 0 {
			v.At = at.Add(l.upTo(streamCopyDelay, copied, c.Jitter))
		}
		if size > 0 && l.happens(streamCorrupt, copied, c.Corrupt) {
			v.CorruptBit = int(l.draw(streamCorruptBit, copied) % uint64(size*8))
			s.Corrupted++
		}
		verdicts = append(verdicts, v)
	}
	s.Arrived += copies
	return verdicts
}

// lost moves the loss models on and returns the counter of the one that takes
// this datagram, or nil.
func (l *Link) lost() *uint64 {
	g := &l.cfg.Burst
	change, loss := g.ToBad, g.LossGood
	if l.bad {
		change = g.ToGood
	}
	if l.happens(streamBurstState, 0, change) {
		l.bad = !l.bad
	}
	if l.bad {
		loss = g.LossBad
	}
	switch {
	case l.happens(streamLoss, 0, l.cfg.Loss):
		return &l.stats.Lost
	case l.happens(streamBurstLoss, 0, loss):
		return &l.stats.BurstLost
	}
	return nil
}

// bottleneck queues a datagram and returns when it has passed, or false if it
// does not fit into the queue.
func (l *Link) bottleneck(now mono.Time, size int64) (mono.Time, bool) {
	c := &l.cfg
	if c.Rate == 0 {
		return max(now, l.idle), true
	}
	second := int64(mono.Second)
	if now >= l.idle {
		l.idle, l.rest = now, 0
	} else {
		// The queue is measured in time, which is what is known of it.
		waiting := int64(l.idle.Sub(now))
		if c.Queue > 0 && waiting+size*second/c.Rate > c.Queue*second/c.Rate || l.full(now) {
			return 0, false
		}
	}
	work := size*second + l.rest
	l.idle, l.rest = l.idle.Add(mono.Duration(work/c.Rate)), work%c.Rate
	if len(l.ends) > 0 {
		l.ends[l.end] = l.idle
		l.end = (l.end + 1) % len(l.ends)
	}
	if wait := int64(l.idle.Sub(now)); wait > l.most {
		l.most = wait
		l.stats.QueueMost = max(l.stats.QueueMost, wait/second*c.Rate+int64(float64(wait%second)*float64(c.Rate)/float64(second)))
	}
	return l.idle, true
}

// full tells whether as many datagrams as the queue may hold have not passed:
// the oldest of them stands where the next one's end goes.
func (l *Link) full(now mono.Time) bool { return len(l.ends) > 0 && l.ends[l.end] > now }

// happens draws whether an event of probability p befalls the datagram.
func (l *Link) happens(stream int, copied uint64, p float64) bool {
	return p > 0 && float64(l.draw(stream, copied)>>11) < p*(1<<53)
}

// upTo draws a duration from 0 to d.
func (l *Link) upTo(stream int, copied uint64, d mono.Duration) mono.Duration {
	if d <= 0 {
		return 0
	}
	return mono.Duration(l.draw(stream, copied) % (uint64(d) + 1))
}

// draw returns the number of the present datagram's copy in a stream: the
// output function of SplitMix64 (Steele, Lea, Flood 2014), which costs about
// 2 ns and needs no state but the index.
func (l *Link) draw(stream int, copied uint64) uint64 {
	z := l.keys[stream] + (l.n<<4|copied)*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
