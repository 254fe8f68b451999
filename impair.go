package godwit

import (
	"fmt"
	"time"

	"godwit.example/godwit/internal/impair"
	"godwit.example/godwit/internal/shard"
)

// Link says what a network does to each datagram in one direction. The zero value delivers everything at once. Probabilities lie
// between 0 and 1.
type Link struct {
	// Delay is what each datagram takes one way. Jitter adds up to its value, without changing the order.
	Delay, Jitter time.Duration
	// Loss is the probability that a datagram is lost.
	Loss float64
	// Burst is the share of datagrams that is lost in bursts of BurstLength in the mean, in addition to Loss.
	Burst, BurstLength float64
	// Reorder is the probability that a datagram takes up to ReorderDelay longer, so that later ones overtake it.
	Reorder      float64
	ReorderDelay time.Duration
	// Duplicate is the probability that a datagram arrives twice, Corrupt that one bit of it is flipped.
	Duplicate, Corrupt float64
	// Rate is the capacity of the link in bytes a second, with a queue before it of Queue bytes, of QueueDatagrams datagrams, or as long as both
	// permit; zero is without limit. What finds the queue full is dropped.
	Rate, Queue    int64
	QueueDatagrams int
	// MTU is the size of the largest datagram that passes; zero is without limit.
	MTU int
}

// Impair makes the network of an endpoint worse than it is, so that an application can be seen to live with a bad one before its users
// have it. It acts on datagrams between the endpoint and its sockets: congestion control, repair and statistics take it for the
// network. Connections on one shard share a link in each direction.
type Impair struct {
	// Send acts on what the endpoint sends, Receive on what it receives. For a round trip of 50 ms each has a Delay of 25 ms.
	Send, Receive Link
	// Seed chooses the misfortunes: with the same seed, the datagrams of the same numbers are lost.
	Seed uint64
}

// check returns an error that names the field, if it makes no sense.
func (k *Link) check(name string) error {
	p := impair.Params(*k)
	if field, value, want := p.Check(); field != "" {
		return badField(name+field, value, want)
	}
	if k.MTU != 0 && k.MTU < minDatagram {
		return badField(name+"MTU", k.MTU, fmt.Sprintf("at least %d, the least that godwit needs, or 0 for no limit", minDatagram))
	}
	return nil
}

func (l *limits) resolveImpair() error {
	if l.Impair == nil {
		return nil
	}
	if l.Tuning.Simulation != nil {
		return badField("Impair", "set", "nil on a simulated network, which has a Link of its own")
	}
	if err := l.Impair.Send.check("Impair.Send."); err != nil {
		return err
	}
	return l.Impair.Receive.check("Impair.Receive.")
}

// impair wraps the sockets if the configuration asks for it, and says so: nobody should look for the fault elsewhere.
func (l *limits) impair(sockets []shard.Socket) {
	if l.Impair == nil {
		return
	}
	for i, s := range sockets {
		sockets[i] = newImpairedSocket(s, l.Impair, i)
	}
	if l.Logger != nil {
		l.Logger.Warn("godwit: Config.Impair makes the network worse on purpose", "send", l.Impair.Send, "receive", l.Impair.Receive, "seed", l.Impair.Seed)
	}
}

// seedOf gives each direction of each shard luck of its own.
func (i *Impair) seedOf(index, direction int) (key [32]byte) {
	for b := range 8 {
		key[b] = byte(i.Seed >> (8 * b))
	}
	key[8], key[9] = byte(index), byte(direction)
	return key
}

func (k *Link) start(seed [32]byte) *impair.Link { return impair.New(impair.Params(*k).Config(), seed) }
