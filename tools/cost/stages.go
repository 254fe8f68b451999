package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"text/tabwriter"
	"time"
)

// A stage is what some functions take, with all that they call, less what others do that they call. Names are the ends of those in a profile.
type stage struct {
	name       string
	plus, less string
}

var stages = []stage{
	{"receive: system call", "udp.(*Engine).Read", ""},
	{"route, account, batch", "shard.(*Shard).receive", "udp.(*Engine).Read protect.(*Scratch).Open proto.(*Conn).HandlePacket shard.(*Shard).deliver"},
	{"open", "protect.(*Scratch).Open", ""},
	{"... of that the cipher", "gcm.gcmAesDec", ""},
	{"packet: frames, ranges", "proto.(*Conn).HandlePacket", "proto.(*Conn).handleAck proto.(*messages).handleMessages"},
	{"ACKs received", "proto.(*Conn).handleAck", ""},
	{"messages parsed", "proto.(*messages).handleMessages", ""},
	{"messages delivered", "shard.(*Shard).deliver", "godwit.Conn.SendMessage"},
	{"send into the mailbox", "godwit.Conn.SendMessage", ""},
	{"mailbox to queue", "shard.(*Shard).commands", ""},
	{"build", "proto.(*Conn).BuildTrain", ""},
	{"... of that messages copied", "proto.(*messages).writeItems", ""},
	{"seal", "protect.(*Scratch).SealTrain", ""},
	{"... of that the cipher", "gcm.gcmAesEnc", ""},
	{"send: system call", "udp.(*Engine).Write", ""},
	{"timers set and run", "shard.(*Shard).settle shard.(*Shard).timers", ""},
	{"wait: system call", "udp.(*Engine).Wait", ""},
	{"collector, allocation", "runtime.gcBgMarkWorker runtime.mallocgc", ""},
}

// profile is the time that functions took with all that they call, by their names.
type profile struct {
	total time.Duration
	with  map[string]time.Duration
}

// readProfile has go tool pprof sum up a profile.
func readProfile(ctx context.Context, file string) (*profile, error) {
	cmd := exec.CommandContext(ctx, "go", "tool", "pprof", "-top", "-cum", "-unit=us", "-nodecount=100000", "-nodefraction=0", file)
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go tool pprof: %w", err)
	}
	return parseProfile(text)
}

// parseProfile reads the table that go tool pprof -top prints: flat, its share, the sum of shares, with callees, its share, name.
func parseProfile(text []byte) (*profile, error) {
	p := &profile{with: map[string]time.Duration{}}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		if _, rest, ok := strings.Cut(line, "Total samples = "); ok {
			total, _, _ := strings.Cut(rest, " ")
			d, err := time.ParseDuration(strings.TrimSuffix(total, ","))
			if err != nil {
				return nil, err
			}
			p.total = d
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 6 || !strings.HasSuffix(fields[1], "%") {
			continue
		}
		d, err := time.ParseDuration(fields[3])
		if err != nil {
			continue // the head of the table
		}
		p.with[fields[5]] += d
	}
	if p.total <= 0 || len(p.with) == 0 {
		return nil, errors.New("the profile is empty")
	}
	return p, lines.Err()
}

// sum returns what the functions of a list took, each with its callees.
func (p *profile) sum(names string) (d time.Duration) {
	for name := range strings.FieldsSeq(names) {
		for have, took := range p.with {
			if have == name || strings.HasSuffix(have, "/"+name) {
				d += took
			}
		}
	}
	return d
}

// of returns the share of a stage.
func (p *profile) of(s *stage) float64 {
	return float64(p.sum(s.plus)-p.sum(s.less)) / float64(p.total)
}

// report prints the stages of a workload, and what happened for each thousand messages.
func report(out io.Writer, w *workload, r *result, counters map[string]any, p *profile) {
	ns := 1000 * r.ServerPerMessage
	fmt.Fprintf(out, "%s: %.0f messages/s, %.1f %% stolen, %s of samples\n", w.name, r.MessagesPerSecond, r.StolenCPU, p.total)
	for _, reason := range r.Reasons {
		fmt.Fprintf(out, "INVALID: %s\n", reason)
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "stage\tns/message\t%\t\n")
	rest := 1.0
	for i := range stages {
		share := p.of(&stages[i])
		fmt.Fprintf(t, "%s\t%.1f\t%.1f\t\n", stages[i].name, share*ns, 100*share)
		if !strings.HasPrefix(stages[i].name, "...") {
			rest -= share
		}
	}
	fmt.Fprintf(t, "everything else\t%.1f\t%.1f\t\n", rest*ns, 100*rest)
	fmt.Fprintf(t, "all\t%.1f\t100.0\t\n", ns)
	_ = t.Flush()
	messages, _ := counters["messages_received"].(float64)
	if messages == 0 {
		return
	}
	fmt.Fprint(out, "for 1,000 messages:")
	for _, name := range []string{
		"read_calls", "write_calls", "waits", "trains", "datagrams_received", "datagrams_sent", "packets_received", "packets_sent",
		"wire_bytes_received", "wire_bytes_sent", "messages_retransmitted",
	} {
		n, _ := counters[name].(float64)
		fmt.Fprintf(out, " %s %.4g;", name, 1000*n/messages)
	}
	fmt.Fprint(out, "\n\n")
}
