package godwit

import (
	"cmp"
	"fmt"
	"runtime"
	"time"

	"godwit.example/godwit/internal/congestion"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/wire"
)

// Defaults and bounds of Config.
const (
	defaultMessageSize  = 256 << 10
	maxMessageSize      = 16 << 20
	defaultSendBuffer   = 1 << 20
	defaultReceive      = 3 << 19
	defaultIdle         = 60 * time.Second
	defaultKeepAlive    = 20 * time.Second
	defaultHandshake    = 10 * time.Second
	defaultLinger       = 5 * time.Second
	defaultTick         = time.Second / 30
	defaultConnections  = 1_000_000
	defaultMailbox      = 8 << 20
	defaultHalfOpen     = 256
	defaultPool         = 256 << 20
	defaultCycle        = 2500
	defaultDatagram     = 1452
	defaultBacklog      = 1024
	defaultStreams      = 100
	mostStreams         = 1 << 16
	maxShards           = 32
	maxSlots            = 1<<24 - 1
	minDatagram         = 1200
	maxDatagramBytes    = 65527
	maxKey              = 1<<62 - 1
	reassemblyPerBuffer = 1 << 20
	defaultSpin         = 200 * time.Microsecond
	defaultHibernate    = 2 * time.Second
	mostSpin            = time.Millisecond
	leastRate           = 1000
	mostRate            = 1 << 40
)

// limits is a Config with every default filled in and every value checked. It is not changed afterwards.
type limits struct {
	Config
	proto    proto.Config
	reliable [maxChannels]bool // sends on the channel may be refused
}

// resolve checks a Config once. Errors name the field and say what it may be.
func resolve(c *Config) (*limits, error) {
	l := &limits{Config: *c.clone()}
	switch l.Network {
	case "":
		l.Network = "udp"
	case "udp", "udp4", "udp6":
	default:
		return nil, badField("Network", l.Network, `"udp", "udp4" or "udp6"`)
	}
	if err := l.resolveEngine(); err != nil {
		return nil, err
	}
	if err := l.resolveImpair(); err != nil {
		return nil, err
	}
	for _, f := range []struct {
		name         string
		v            *int
		zero         int
		least, most  int
		negativeZero bool
	}{
		{"Shards", &l.Shards, min(runtime.GOMAXPROCS(0), maxShards), 1, maxShards, false},
		{"MaxConnections", &l.MaxConnections, defaultConnections, 1, maxSlots, false},
		{"MaxMessageSize", &l.MaxMessageSize, defaultMessageSize, 1, maxMessageSize, false},
		{"SendBuffer", &l.SendBuffer, defaultSendBuffer, 1, 1 << 30, false},
		{"ReceiveBuffer", &l.ReceiveBuffer, max(defaultReceive, l.MaxMessageSize+wire.CreditOverhead), 1, 1 << 30, false},
		{"MaxStreams", &l.MaxStreams, defaultStreams, 1, mostStreams, true},
		{"DSCP", &l.DSCP, 0, 0, 63, false},
		{"Tuning.MaxDatagram", &l.Tuning.MaxDatagram, defaultDatagram, minDatagram, maxDatagramBytes, false},
		{"Tuning.SocketBuffer", &l.Tuning.SocketBuffer, 0, 0, 1 << 30, true},
		{"Tuning.MailboxBytes", &l.Tuning.MailboxBytes, defaultMailbox, 64 << 10, 1 << 30, false},
		{"Tuning.HalfOpen", &l.Tuning.HalfOpen, defaultHalfOpen, 1, 1 << 16, false},
		{"Tuning.Workers", &l.Tuning.Workers, runtime.GOMAXPROCS(0), 1, 1 << 10, false},
		{"Tuning.PoolBytes", &l.Tuning.PoolBytes, defaultPool, 1 << 20, 1 << 40, false},
		{"Tuning.CycleMessages", &l.Tuning.CycleMessages, defaultCycle, 1, 1 << 20, false},
		{"Tuning.ServerID", &l.Tuning.ServerID, 0, 0, 1<<24 - 1, false},
		{"Tuning.AcceptBacklog", &l.Tuning.AcceptBacklog, defaultBacklog, 1, 1 << 20, false},
		{"Tuning.ReceiveBacklog", &l.Tuning.ReceiveBacklog, defaultBacklog, 1, 1 << 20, false},
	} {
		if *f.v == 0 {
			*f.v = f.zero
		}
		if *f.v < 0 && f.negativeZero {
			continue
		}
		if *f.v < f.least || *f.v > f.most {
			return nil, badField(f.name, *f.v, fmt.Sprintf("%d to %d, or 0 for the default", f.least, f.most))
		}
	}
	if need := l.MaxMessageSize + wire.CreditOverhead; l.ReceiveBuffer < need {
		return nil, badField("ReceiveBuffer", l.ReceiveBuffer, fmt.Sprintf("at least MaxMessageSize + %d = %d", wire.CreditOverhead, need))
	}
	if err := l.checkRates(); err != nil {
		return nil, err
	}
	l.resolveTimes()
	if err := l.resolveSpin(); err != nil {
		return nil, err
	}
	if l.HandshakeTimeout == 0 {
		return nil, badField("HandshakeTimeout", c.HandshakeTimeout, "positive, or 0 for the default")
	}
	if err := l.resolveProto(); err != nil {
		return nil, err
	}
	return l, nil
}

// resolveSpin says how long shards look for work: not at all on the portable engine, whose sockets are read by goroutines that need a processor for it.
func (l *limits) resolveSpin() error {
	if l.Tuning.Spin > mostSpin {
		return badField("Tuning.Spin", l.Tuning.Spin, fmt.Sprintf("at most %v, 0 for the default, or negative for never", mostSpin))
	}
	l.Tuning.Spin = max(cmp.Or(l.Tuning.Spin, defaultSpin), 0)
	if l.Engine != engineLinux {
		l.Tuning.Spin = 0
	}
	return nil
}

// checkRates checks the limits of what is sent.
func (l *limits) checkRates() error {
	for name, rate := range map[string]int64{"MaxSendRate": l.MaxSendRate, "MaxTotalSendRate": l.MaxTotalSendRate} {
		if rate != 0 && (rate < leastRate || rate > mostRate) {
			return badField(name, rate, fmt.Sprintf("%d to %d bytes a second, or 0 for no limit", leastRate, int64(mostRate)))
		}
	}
	return nil
}

// resolveTimes fills in the defaults of times.
func (l *limits) resolveTimes() {
	l.IdleTimeout = duration(l.IdleTimeout, defaultIdle)
	l.KeepAlive = duration(l.KeepAlive, defaultKeepAlive)
	l.HandshakeTimeout = duration(l.HandshakeTimeout, defaultHandshake)
	l.Linger = duration(l.Linger, defaultLinger)
	l.TickInterval = duration(l.TickInterval, defaultTick)
	l.Tuning.Hibernate = duration(l.Tuning.Hibernate, defaultHibernate)
}

// duration fills in a default; negative switches off, which below the face is zero.
func duration(d, zero time.Duration) time.Duration {
	if d == 0 {
		return zero
	}
	return max(d, 0)
}

func badField(name string, v any, want string) error {
	return fmt.Errorf("godwit: Config.%s is %v, it must be %s", name, v, want)
}

// resolveProto derives what connections need to know.
func (l *limits) resolveProto() error {
	kind, ok := congestionKinds[l.Tuning.Congestion]
	if !ok {
		return badField("Tuning.Congestion", l.Tuning.Congestion, `"adaptive", "newreno" or "fixed"`)
	}
	p := &l.proto
	*p = proto.Config{
		Params: wire.DefaultParams(), MaxMessageSize: l.MaxMessageSize, SendBuffer: l.SendBuffer,
		MaxDatagram: minDatagram, MaxDatagramCeil: l.Tuning.MaxDatagram,
		KeepAlive: l.KeepAlive, IdleTimeout: l.IdleTimeout, DeadPeer: l.IdleTimeout / 2, HandshakeTimeout: l.HandshakeTimeout, Linger: l.Linger,
		Congestion: uint8(kind), ReassemblyBytes: reassemblyPerBuffer, Plain: l.Plain, ECN: !l.Tuning.NoECN,
		MaxSendRate: l.MaxSendRate,
	}
	p.Params.MaxIdleTimeout = uint64(l.IdleTimeout / time.Millisecond)
	p.Params.InitialMaxData = uint64(l.ReceiveBuffer)
	p.Params.InitialMaxChannel = uint64(max(l.ReceiveBuffer*2/3, l.MaxMessageSize+wire.CreditOverhead))
	p.Params.InitialMaxStreams = uint64(max(l.MaxStreams, 0))
	p.Params.MaxMessageSize = uint64(l.MaxMessageSize)
	p.Params.MaxUDPPayload = uint64(max(l.Tuning.MaxDatagram, minDatagram))
	p.Params.PlainMode = l.Plain
	for ch := range Channel(maxChannels) {
		d := defaultChannel(ch)
		p.Channels[ch] = proto.ChannelConfig{Mode: proto.Mode(d.Mode), Priority: d.Priority, Weight: d.Weight}
		l.reliable[ch] = d.Mode.Reliable()
	}
	for ch, c := range l.Channels {
		if ch >= maxChannels {
			return badField("Channels", ch, "a map of channels 0 to 255")
		}
		if c.Mode > Unreliable {
			return badField(fmt.Sprintf("Channels[%d].Mode", ch), uint8(c.Mode), "one of the five modes")
		}
		if c.Weight == 0 {
			c.Weight = defaultWeight
		}
		l.reliable[ch] = c.Mode.Reliable()
		p.Channels[ch] = proto.ChannelConfig{Mode: proto.Mode(c.Mode), Priority: c.Priority, Weight: c.Weight}
	}
	for ch := range p.Channels { // in order, so that equal configurations are equal bytes
		c, d := p.Channels[ch], defaultChannel(Channel(ch))
		if c != (proto.ChannelConfig{Mode: proto.Mode(d.Mode), Weight: defaultWeight}) {
			p.Params.Channels = append(p.Params.Channels, wire.ChannelParam{
				Channel: uint8(ch), Mode: wire.Mode(c.Mode), Priority: c.Priority, Weight: c.Weight, InitialMax: p.Params.InitialMaxChannel,
			})
		}
	}
	return nil
}

var congestionKinds = map[string]congestion.Kind{
	"": congestion.Adaptive, "adaptive": congestion.Adaptive, "newreno": congestion.NewReno, "fixed": congestion.Fixed,
}
