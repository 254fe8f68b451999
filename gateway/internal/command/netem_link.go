package command

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"godwit.example/godwit/netem"
)

// A linkKind is a flag that says what a link does.
type linkKind struct {
	name, unit, help string
	set              func(l *netem.Link, text string) error
	get              func(l *netem.Link) string // empty if it does nothing
}

var linkKinds = []linkKind{
	durationKind("delay", "time that each datagram takes; half of the round trip that is to be added", func(l *netem.Link) *time.Duration { return &l.Delay }),
	durationKind("jitter", "time that is added to that at most, without changing the order", func(l *netem.Link) *time.Duration { return &l.Jitter }),
	shareKind("loss", "datagrams that are lost, such as 5% or 0.05", func(l *netem.Link) *float64 { return &l.Loss }),
	shareKind("burst", "datagrams that are lost in bursts, in addition", func(l *netem.Link) *float64 { return &l.Burst }),
	{
		name: "burst-length", unit: "datagrams", help: "mean length of a burst",
		set: func(l *netem.Link, text string) (err error) {
			l.BurstLength, err = strconv.ParseFloat(text, 64)
			if err != nil || !(l.BurstLength >= 1) {
				return errors.New("it is a number of datagrams, 1 or more")
			}
			return nil
		},
		get: func(l *netem.Link) string { return number(l.BurstLength) },
	},
	shareKind("reorder", "datagrams that take up to --reorder-delay longer, so that later ones overtake them", func(l *netem.Link) *float64 { return &l.Reorder }),
	durationKind("reorder-delay", "see --reorder", func(l *netem.Link) *time.Duration { return &l.ReorderDelay }),
	shareKind("duplicate", "datagrams that arrive twice", func(l *netem.Link) *float64 { return &l.Duplicate }),
	shareKind("corrupt", "datagrams that have a bit flipped", func(l *netem.Link) *float64 { return &l.Corrupt }),
	{
		name: "rate", unit: "rate", help: "capacity in bits of UDP payload a second, such as 500kbit, 10mbit or 1gbit; 0 is without limit",
		set: func(l *netem.Link, text string) (err error) { l.Rate, err = parseRate(text); return err },
		get: func(l *netem.Link) string {
			if l.Rate == 0 {
				return ""
			}
			return number(float64(l.Rate)*8/1e6) + "mbit"
		},
	},
	{
		name: "queue", unit: "size", help: "what waits for the rate at most, such as 64kB, or 100p for datagrams; what is beyond is dropped; 0 is without limit",
		set: setQueue,
		get: func(l *netem.Link) string {
			if l.QueueDatagrams > 0 {
				return fmt.Sprintf("%dp", l.QueueDatagrams)
			}
			if l.Queue > 0 {
				return fmt.Sprintf("%dB", l.Queue)
			}
			return ""
		},
	},
	{
		name: "mtu", unit: "bytes", help: "size of the largest datagram that passes, without headers; 0 is without limit",
		set: func(l *netem.Link, text string) (err error) {
			if l.MTU, err = strconv.Atoi(text); err != nil || l.MTU < 0 {
				return errors.New("it is a number of bytes")
			}
			return nil
		},
		get: func(l *netem.Link) string { return number(float64(l.MTU)) },
	},
}

func number(n float64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatFloat(n, 'f', -1, 64)
}

func durationKind(name, help string, field func(*netem.Link) *time.Duration) linkKind {
	return linkKind{
		name: name, unit: "duration", help: help,
		set: func(l *netem.Link, text string) (err error) { *field(l), err = time.ParseDuration(text); return err },
		get: func(l *netem.Link) string {
			if d := *field(l); d > 0 {
				return d.String()
			}
			return ""
		},
	}
}

func shareKind(name, help string, field func(*netem.Link) *float64) linkKind {
	return linkKind{
		name: name, unit: "share", help: "share of the " + help,
		set: func(l *netem.Link, text string) error {
			p, ok := parseShare(text)
			if !ok {
				return errors.New("it is a share such as 5% or 0.05")
			}
			*field(l) = p
			return nil
		},
		get: func(l *netem.Link) string { return percent(*field(l)) },
	}
}

// parseShare reads a probability, 0 to 1, written as such or in percent.
func parseShare(text string) (p float64, ok bool) {
	digits, percent := strings.CutSuffix(text, "%")
	p, err := strconv.ParseFloat(digits, 64)
	if percent {
		p /= 100
	}
	return p, err == nil && p >= 0 && p <= 1
}

// parseRate reads bits a second and gives bytes.
func parseRate(text string) (int64, error) {
	n, ok := parseUnits(text, map[string]float64{"": 0, "bit": 1. / 8, "kbit": 1e3 / 8, "mbit": 1e6 / 8, "gbit": 1e9 / 8})
	if !ok || n > 0 && n < 1 {
		return 0, errors.New("it is a number with kbit, mbit or gbit, such as 10mbit")
	}
	return int64(n), nil
}

// setQueue reads bytes or datagrams; the one replaces the other.
func setQueue(l *netem.Link, text string) error {
	if digits, ok := strings.CutSuffix(text, "p"); ok {
		n, err := strconv.Atoi(digits)
		if err != nil || n < 1 {
			return errors.New("it is a number of datagrams such as 100p")
		}
		l.Queue, l.QueueDatagrams = 0, n
		return nil
	}
	n, ok := parseUnits(text, map[string]float64{"": 0, "b": 1, "kb": 1e3, "kib": 1 << 10, "mb": 1e6, "mib": 1 << 20})
	if !ok {
		return errors.New("it is a size such as 64kB or 1MiB, or a number of datagrams such as 100p")
	}
	l.Queue, l.QueueDatagrams = int64(n), 0
	return nil
}

// parseUnits reads a number with one of the units, in upper or lower case. Where none is worth nothing, only 0 needs none.
func parseUnits(text string, units map[string]float64) (float64, bool) {
	unit := strings.TrimLeft(text, "0123456789.")
	n, err := strconv.ParseFloat(strings.TrimSuffix(text, unit), 64)
	worth, known := units[strings.ToLower(unit)]
	if err != nil || !known || worth == 0 && n != 0 {
		return 0, false
	}
	n *= worth
	return n, n <= math.MaxInt32*1024
}

// linkFlags are the flags of both directions and of each.
type linkFlags struct{ both, up, down []*linkFlag }

// linkFlag is one of them; it implements pflag's Value.
type linkFlag struct {
	kind linkKind
	text string // empty if it was not given
}

func (f *linkFlag) String() string { return f.text }
func (f *linkFlag) Type() string   { return f.kind.unit }

// Set only checks the text: it is applied in an order that does not depend on that of the flags.
func (f *linkFlag) Set(text string) error {
	f.text = text
	return f.kind.set(new(netem.Link), text)
}

func (f *linkFlags) register(cmd *cobra.Command) {
	for _, s := range []struct {
		to           *[]*linkFlag
		prefix, help string
	}{{&f.both, "", ""}, {&f.up, "up-", " (to the server)"}, {&f.down, "down-", " (to the clients)"}} {
		for _, k := range linkKinds {
			flag := &linkFlag{kind: k}
			*s.to = append(*s.to, flag)
			help := k.help
			if s.prefix != "" {
				help = "--" + k.name + " of this direction only" + s.help
			}
			cmd.Flags().Var(flag, s.prefix+k.name, help)
		}
	}
}

// apply writes what was given: for both directions first.
func (f *linkFlags) apply(up, down *netem.Link) {
	for _, s := range []struct {
		flags []*linkFlag
		links []*netem.Link
	}{{f.both, []*netem.Link{up, down}}, {f.up, []*netem.Link{up}}, {f.down, []*netem.Link{down}}} {
		for _, flag := range s.flags {
			for _, l := range s.links {
				if flag.text != "" {
					_ = flag.kind.set(l, flag.text) // checked by Set
				}
			}
		}
	}
}
