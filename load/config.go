package load

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"godwit.example/godwit"
)

// Defaults of Config.
const (
	DefaultConnections = 100
	DefaultSize        = 128
	DefaultRate        = 20_000
	DefaultDuration    = 10 * time.Second
	DefaultWarmup      = time.Second
)

const (
	maxConnections = 1 << 20
	maxSize        = 16 << 20
	maxRate        = 1e8
	maxOutstanding = 1 << 16

	// drainTime is how long after its end a run waits for messages that are
	// still on their way. What is not back then is lost.
	drainTime = 5 * time.Second
)

// Config describes a run. The zero value of each field but Addr has a meaning.
type Config struct {
	// Addr is the echo server: host:port or godwit://host:port?pin=….
	Addr string
	// Client is the base of the clients' configuration: pins, plain mode,
	// channels, tuning. Its Handler and TickInterval are the generator's.
	Client *godwit.Config
	// Channel is the channel that messages travel on; channels 0 to 4 are
	// ordered, unordered, latest, sequenced and unreliable.
	Channel godwit.Channel

	Connections int // 0 means 100
	Size        int // bytes a message, at least 24; 0 means 128

	// Rate is the messages a second of an open loop, over all connections. If
	// it and Outstanding are 0, it is 20,000.
	Rate float64
	// Outstanding is how many messages of each connection a closed loop keeps
	// on their way.
	Outstanding int

	Duration time.Duration // of the measurement; 0 means 10 s
	Warmup   time.Duration // of unmeasured load before it; 0 means 1 s, negative none

	// Staleness asks for Result.Staleness.
	Staleness bool

	// Receipts says that the server returns AppendReceipt's answer and not the
	// message: a load in one direction. A message counts when its receipt comes.
	Receipts bool

	// Unhurried says that latency is not what the run is about: a generator that is
	// late does not make it invalid.
	Unhurried bool

	// Varz is the address of the server's admin pages, from which its CPU time
	// is read; empty leaves it unknown, unless ServerPID is set.
	Varz string
	// ServerPID is the server's process, if it runs on this machine: its CPU time
	// is read from /proc then, and Varz is not asked.
	ServerPID int

	// Beside are other processes on this machine whose CPU time belongs to the load,
	// such as a proxy's on the way to the server: it does not count as that of
	// other programs.
	Beside []int

	// Finished, if it is set, is called when the load is over and before the
	// connections are closed.
	Finished func()

	// Reference repeats the load against plain UDP and TCP servers.
	Reference bool
	// ReferenceCPUs are the CPUs that their processes may use; empty means
	// those of this process.
	ReferenceCPUs []int

	// Progress, if it is set, is called about ten times a second with what is
	// being done, how much of it is done, and how much there is.
	Progress func(what string, done, total time.Duration)
}

// The generator of an open loop looks for messages instead of sleeping if they
// are due so often: a thread that sleeps may be woken later than the next one is
// due, most of all in a virtual machine whose idle CPUs are given back to the host.
const (
	spinPeriods = 2
	mostSpin    = 200 * time.Microsecond
)

// spin returns how long the client looks for work before it sleeps; 0 leaves that to the library.
func (c *Config) spin() time.Duration {
	if c.Client != nil && c.Client.Tuning.Spin != 0 {
		return c.Client.Tuning.Spin
	}
	if c.Rate == 0 {
		return 0
	}
	if d := time.Duration(spinPeriods / c.Rate * float64(time.Second)); d <= mostSpin {
		return d
	}
	return 0
}

// spins yields if a wait is too short to be slept through, and reports whether it is.
func (c *Config) spins(d time.Duration) bool {
	if d >= c.spin() {
		return false
	}
	runtime.Gosched()
	return true
}

// resolve fills in the defaults and checks the rest.
func (c Config) resolve() (Config, error) {
	setDefault(&c.Connections, DefaultConnections)
	setDefault(&c.Size, DefaultSize)
	setDefault(&c.Duration, DefaultDuration)
	setDefault(&c.Warmup, DefaultWarmup)
	c.Warmup = max(c.Warmup, 0)
	if c.Rate == 0 && c.Outstanding == 0 {
		c.Rate = DefaultRate
	}
	switch {
	case c.Addr == "":
		return c, errors.New("load: no address to send to")
	case c.Rate != 0 && c.Outstanding != 0:
		return c, errors.New("load: a rate makes an open loop, outstanding messages a closed one: choose one of them")
	case c.Rate < 0 || c.Rate > maxRate:
		return c, fmt.Errorf("load: rate %g, it must be above 0 and at most %g messages a second", c.Rate, maxRate)
	case c.Outstanding < 0 || c.Outstanding > maxOutstanding:
		return c, fmt.Errorf("load: %d messages outstanding, it must be 1 to %d", c.Outstanding, maxOutstanding)
	case c.Connections < 0 || c.Connections > maxConnections:
		return c, fmt.Errorf("load: %d connections, it must be 1 to %d", c.Connections, maxConnections)
	case c.Size < headerSize || c.Size > maxSize:
		return c, fmt.Errorf("load: messages of %d bytes, it must be %d to %d", c.Size, headerSize, maxSize)
	case c.Duration < 0:
		return c, fmt.Errorf("load: duration %v, it must be positive", c.Duration)
	}
	return c, nil
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// mode returns the promise of the channel that the run uses.
func (c *Config) mode() godwit.Mode {
	if c.Client != nil {
		if ch, ok := c.Client.Channels[c.Channel]; ok {
			return ch.Mode
		}
	}
	if c.Channel <= godwit.UnreliableChannel {
		return godwit.Mode(c.Channel)
	}
	return godwit.Ordered
}
