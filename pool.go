package godwit

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// PoolConfig configures a Pool. The zero value, like a nil *PoolConfig, is usable.
type PoolConfig struct {
	// Config is what every connection is dialed with.
	Config *Config
	// PerAddress is how many connections there are to one address; Get hands them out in turn. The default is 1: a connection
	// carries any number of messages at once, so more are for servers with several shards.
	PerAddress int
	// MaxAddresses bounds the addresses; the one that was not asked for longest goes first. The default is 1,024.
	MaxAddresses int
	// IdleTimeout is how long a connection is kept, and restored when it ends, after Get was called for its address. The default is 5 minutes.
	IdleTimeout time.Duration
	// BackoffMin and BackoffMax bound the pause before an address is dialed again. It doubles with each failure, and a random half of it
	// is left out, so that the clients of a server that restarts do not come back all at once. The defaults are 100 ms and 15 s.
	BackoffMin, BackoffMax time.Duration
}

// Defaults of PoolConfig.
const (
	poolAddresses  = 1024
	poolIdle       = 5 * time.Minute
	poolBackoffMin = 100 * time.Millisecond
	poolBackoffMax = 15 * time.Second
	poolLook       = 100 * time.Millisecond // how often ended and idle connections are looked for
)

// Pool shares connections to servers among the goroutines of a client. It dials an address when it is asked for, keeps the connection while it
// is used, dials again when it ends, and closes it when nobody has asked for a while. Connections watch over their own health:
// one whose peer is dead ends (Config.IdleTimeout) and is replaced. Until then, where PerAddress is more than 1, one that has not
// been heard from for twice Config.KeepAlive is asked for a sign of life and passed by, as long as another connection of the address is
// better. That is left out where KeepAlive is switched off.
//
// All methods are safe from any goroutine; Get waits and must not be called from a Handler. A pool has one goroutine, and one for
// each dial under way.
type Pool struct {
	cfg    PoolConfig
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup
	keep   time.Duration // the silence after which a connection is asked for a sign of life; 0 if health is not checked

	mu      sync.Mutex
	closed  bool
	turn    uint64
	entries map[poolKey]*poolEntry
	stats   PoolStats
}

type poolKey struct {
	addr  string
	index int
}

// poolEntry is one place for a connection.
type poolEntry struct {
	conn    Conn
	live    bool          // conn is to be looked after
	silent  bool          // it has not been heard from for too long
	dialing chan struct{} // closed when the dial that is under way is over
	err     error         // of the last dial
	fails   int           // dials that failed since the last success
	retryAt time.Time     // no dial before
	used    time.Time     // when it was asked for last
}

// PoolStats are the figures of a Pool. Counts only grow.
type PoolStats struct {
	Open, Dialing   int    // connections
	Gets, Shared    uint64 // calls of Get; those that found an open connection
	Avoided         uint64 // of these, those that were given another because that of their turn was silent
	Dials, Failures uint64
	Ended, Evicted  uint64 // connections that ended by themselves; closed because they were idle or one too many
}

// errPoolClosed is returned by Get of a closed Pool.
var errPoolClosed = fmt.Errorf("godwit: pool is closed: %w", net.ErrClosed)

// NewPool returns an empty pool. The caller closes it.
func NewPool(cfg *PoolConfig) *Pool {
	p := &Pool{entries: make(map[poolKey]*poolEntry)}
	if cfg != nil {
		p.cfg = *cfg
	}
	c := &p.cfg
	c.Config = c.Config.clone()
	for _, f := range []struct {
		v    *time.Duration
		zero time.Duration
	}{{&c.IdleTimeout, poolIdle}, {&c.BackoffMin, poolBackoffMin}, {&c.BackoffMax, poolBackoffMax}} {
		if *f.v <= 0 {
			*f.v = f.zero
		}
	}
	c.BackoffMax = max(c.BackoffMax, c.BackoffMin)
	if c.PerAddress <= 0 {
		c.PerAddress = 1
	}
	if c.MaxAddresses <= 0 {
		c.MaxAddresses = poolAddresses
	}
	if c.PerAddress > 1 {
		p.keep = duration(c.Config.KeepAlive, defaultKeepAlive)
		if idle := duration(c.Config.IdleTimeout, defaultIdle); idle > 0 {
			p.keep = min(p.keep, idle/3)
		}
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.tasks.Go(p.look)
	return p
}

// Get returns an open connection to addr, as Dial would. It is shared: others use it too, and the pool closes it; so Get is called for each
// use, and the connection is not kept. If there is none, Get waits for a dial, also for one that is due after a pause. If
// that is later than ctx's deadline it returns the error of the last dial at once. Other errors are those of Dial, the
// context's, and one that is net.ErrClosed after Close.
func (p *Pool) Get(ctx context.Context, addr string) (Conn, error) {
	p.mu.Lock()
	p.stats.Gets++
	p.turn++
	key := poolKey{addr, int(p.turn % uint64(p.cfg.PerAddress))}
	p.mu.Unlock()
	for first := true; ; first = false {
		c, wait, err := p.try(ctx, key, first)
		if err != nil || wait == nil {
			return c, err
		}
		if err := wait(ctx); err != nil {
			return Conn{}, err
		}
	}
}

// try returns a connection or what to wait for. After the first round the error of a dial is the caller's.
func (p *Pool) try(ctx context.Context, key poolKey, first bool) (c Conn, wait func(context.Context) error, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return Conn{}, nil, errPoolClosed
	}
	e := p.entry(key)
	now := time.Now()
	e.used = now
	p.notice(e, now)
	switch pause := e.retryAt.Sub(now); {
	case e.live:
		if first {
			p.stats.Shared++
		}
		return p.healthy(key, e, now).conn, nil, nil
	case e.dialing != nil:
	case !first && e.err != nil && pause > 0:
		return Conn{}, nil, e.err // of the dial that was waited for
	case pause > 0:
		if end, ok := ctx.Deadline(); ok && e.err != nil && e.retryAt.After(end) {
			return Conn{}, nil, e.err
		}
		return Conn{}, func(ctx context.Context) error { return sleep(ctx, p.ctx, pause) }, nil
	default:
		p.dial(key, e)
	}
	done := e.dialing
	return Conn{}, func(ctx context.Context) error {
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}, nil
}

// healthy returns an entry that is live: e, or another of its address if e is silent and the other is not.
func (p *Pool) healthy(key poolKey, e *poolEntry, now time.Time) *poolEntry {
	if !e.silent {
		return e
	}
	for i := range p.cfg.PerAddress {
		o := p.entries[poolKey{key.addr, i}]
		if o == nil {
			continue
		}
		if p.notice(o, now); o.live && !o.silent {
			o.used = now
			p.stats.Avoided++
			return o
		}
	}
	return e
}

// check finds out which connections are silent, and asks those for a sign of life. It waits for their shards.
func (p *Pool) check() {
	p.mu.Lock()
	conns := make(map[Conn]*poolEntry, len(p.entries))
	for _, e := range p.entries {
		if e.live {
			conns[e.conn] = e
		}
	}
	p.mu.Unlock()
	for c, e := range conns {
		st, ok, err := c.shard().ConnStats(p.ctx, c.ref())
		if err != nil || !ok {
			continue // it has ended, or the pool has
		}
		silence := c.ep.limits.now().Sub(st.Heard)
		if silence > p.keep {
			c.Ping()
		}
		p.mu.Lock()
		if e.conn == c {
			e.silent = silence > 2*p.keep
		}
		p.mu.Unlock()
	}
}

// sleep waits for a pause, or until the pool is closed.
func sleep(ctx, closed context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-closed.Done():
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// entry returns the place for a connection. If there are too many, the one that was not asked for longest goes.
func (p *Pool) entry(key poolKey) *poolEntry {
	if e := p.entries[key]; e != nil {
		return e
	}
	if len(p.entries) >= p.cfg.MaxAddresses*p.cfg.PerAddress {
		var oldest poolKey
		for k, e := range p.entries {
			if o := p.entries[oldest]; o == nil || e.used.Before(o.used) {
				oldest = k
			}
		}
		p.evict(oldest)
	}
	e := new(poolEntry)
	p.entries[key] = e
	return e
}

func (p *Pool) evict(key poolKey) {
	e := p.entries[key]
	delete(p.entries, key)
	if e.live {
		p.stats.Evicted++
		_ = e.conn.Close() // it may have ended
	}
}

// notice sees that a connection has ended.
func (p *Pool) notice(e *poolEntry, now time.Time) {
	if e.live && e.conn.State() != StateOpen {
		e.live = false
		p.stats.Ended++
		p.pause(e, now)
	}
}

// pause sets when an address is dialed next.
func (p *Pool) pause(e *poolEntry, now time.Time) {
	d := p.cfg.BackoffMax
	if e.fails < 32 {
		d = min(p.cfg.BackoffMin<<e.fails, d)
		if d <= 0 {
			d = p.cfg.BackoffMax
		}
	}
	e.retryAt = now.Add(d/2 + rand.N(d/2+1))
}

// dial begins a dial.
func (p *Pool) dial(key poolKey, e *poolEntry) {
	done := make(chan struct{})
	e.dialing = done
	p.stats.Dials++
	p.tasks.Go(func() {
		c, err := Dial(p.ctx, key.addr, p.cfg.Config)
		p.mu.Lock()
		defer p.mu.Unlock()
		e.dialing, e.err = nil, err
		close(done)
		switch {
		case err != nil:
			p.stats.Failures++
			e.fails++
			p.pause(e, time.Now())
		case p.closed || p.entries[key] != e:
			_ = c.Close() // nobody has it
		default:
			e.conn, e.live, e.silent, e.fails = c, true, false, 0
		}
	})
}

// look replaces connections that have ended, closes those that nobody uses, and has their health checked.
func (p *Pool) look() {
	t := time.NewTicker(max(min(poolLook, p.cfg.IdleTimeout/4), time.Millisecond))
	defer t.Stop()
	checked := time.Now()
	for {
		select {
		case <-p.ctx.Done():
			return
		case now := <-t.C:
			p.mu.Lock()
			for key, e := range p.entries {
				p.notice(e, now)
				switch {
				case e.dialing != nil:
				case now.Sub(e.used) >= p.cfg.IdleTimeout:
					p.evict(key)
				case !e.live && !now.Before(e.retryAt) && !p.closed:
					p.dial(key, e)
				}
			}
			p.mu.Unlock()
			if p.keep > 0 && now.Sub(checked) >= p.keep/4 {
				checked = now
				p.check()
			}
		}
	}
}

// Stats returns the pool's figures.
func (p *Pool) Stats() PoolStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	st := p.stats
	for _, e := range p.entries {
		if e.live {
			st.Open++
		}
		if e.dialing != nil {
			st.Dialing++
		}
	}
	return st
}

// Close closes all connections in good order, as Conn.Close does, and ends the pool. It waits for dials to give up.
func (p *Pool) Close() error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return errPoolClosed
	}
	p.closed = true
	for _, e := range p.entries {
		if e.live {
			e.live = false
			_ = e.conn.Close() // it may have ended
		}
	}
	p.cancel()
	p.mu.Unlock()
	p.tasks.Wait()
	return nil
}
