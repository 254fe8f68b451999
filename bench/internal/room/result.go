package room

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"godwit.example/godwit/load"
)

// Figures are what a room has beside the figures of any load.
type Figures struct {
	Members int `json:"members"`
	// StatesDue and ReliableDue are what had to be delivered of the measurement;
	// of states only the newest have to, so that fewer may be.
	StatesDue         uint64 `json:"states_due"`
	StatesDelivered   uint64 `json:"states_delivered"`
	ReliableDue       uint64 `json:"reliable_due"`
	ReliableDelivered uint64 `json:"reliable_delivered"`
	// InputsTaken is the share of inputs that an authority took, of the whole load.
	InputsTaken *float64 `json:"inputs_taken,omitempty"`
	// ClientCPU is what all members together used of one CPU, in percent. Near 100
	// it is they that bound the room.
	ClientCPU *float64 `json:"client_cpu_percent"`
	// Wire is what crossed the cable, if there is one.
	Wire *Wire `json:"load_wire,omitempty"`
	// Misses say which criteria were not met; none if the room was in order.
	Misses []string `json:"misses,omitempty"`
}

const (
	leastSent   = 0.999
	leastStates = 0.99
	late        = 100 * time.Microsecond
	mostLate    = 2 * time.Millisecond // far below what staleness is judged by
	busyClient  = 90                   // percent
)

// Run loads a server and judges it. serverPID is the server's process, device the
// interface on the way to it, if its traffic is to be counted.
func Run(ctx context.Context, l *Load, t Transport, serverPID int, device string) (*load.Result, *Figures, error) {
	defer t.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	if err := t.Connect(ctx, l.Members); err != nil {
		return nil, nil, err
	}
	begun, watched := make(chan struct{}), make(chan used, 1)
	var before Wire
	var counted error
	m := newMembers(l, t, func() {
		if device != "" {
			before, counted = readWire(device)
		}
		close(begun)
	})
	go func() {
		select {
		case <-begun:
			watched <- watch(ctx, m.from, m.end, serverPID)
		case <-ctx.Done():
			watched <- used{}
		}
	}()
	err := t.Drive(ctx, m)
	if err != nil {
		if m.missing > 0 {
			err = fmt.Errorf("%d of %d members were not answered: %w", m.missing, l.Members, err)
		}
		stop()
	}
	u := <-watched
	if err == nil {
		err = u.err
	}
	if err != nil {
		return nil, nil, err
	}
	r, f := m.result(&u)
	if device != "" {
		after, err := readWire(device)
		if err = errors.Join(counted, err); err != nil {
			return nil, nil, err
		}
		f.Wire = after.since(&before)
		f.Wire.ToServer.Payload, f.Wire.FromServer.Payload = m.said, m.heard
	}
	return r, f, nil
}

// used is what the two ends used while measuring.
type used struct {
	server, client, elapsed time.Duration
	noise                   load.Noise
	err                     error
}

// watch waits for the measurement and takes the figures of both processes.
func watch(ctx context.Context, from, end int64, serverPID int) (u used) {
	sleep := func(until int64) {
		select {
		case <-time.After(time.Duration(until - Now())):
		case <-ctx.Done():
		}
	}
	sleep(from)
	noise, at := load.StartNoise(0, serverPID), Now()
	server, err1 := cpuOf(strconv.Itoa(serverPID))
	client, err2 := cpuOf("self")
	sleep(end)
	server2, err3 := cpuOf(strconv.Itoa(serverPID))
	client2, err4 := cpuOf("self")
	u.elapsed, u.noise = time.Duration(Now()-at), noise()
	u.server, u.client = server2-server, client2-client
	u.err = errors.Join(err1, err2, err3, err4)
	return u
}

// cpuOf is the user and system time of a process: fields 14 and 15 of its stat, in
// ticks of 10 ms. The second field, its name, may hold anything.
func cpuOf(process string) (time.Duration, error) {
	text, err := os.ReadFile("/proc/" + process + "/stat")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%s/stat: %q", process, text)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond, errors.Join(err1, err2)
}

func (m *Members) result(u *used) (*load.Result, *Figures) {
	l := m.load
	seconds := u.elapsed.Seconds()
	f := &Figures{Members: l.Members, StatesDelivered: m.states, ReliableDelivered: m.reliable}
	if l.App.Relay() {
		f.StatesDue = (m.sent - m.reliableSent) * uint64(l.Members-1)
		f.ReliableDue = m.reliableSent * uint64(l.Members-1)
	} else {
		f.StatesDue = uint64(l.Duration/l.App.Tick) * uint64(l.Members)
	}
	client, server := 100*u.client.Seconds()/seconds, 100*u.server.Seconds()/seconds
	f.ClientCPU = &client
	stale := m.staleness.latency()
	r := &load.Result{
		MessagesPerSecond: float64(m.deliveries) / l.Duration.Seconds(), Latency: m.latency.latency(), Staleness: &stale,
		Sent: f.StatesDue + f.ReliableDue, Received: m.states + m.reliable, Lost: f.ReliableDue - min(m.reliable, f.ReliableDue),
		Corrupted: m.corrupted, Duplicates: m.repeated, Connections: l.Members,
		GeneratorLateness: float64(m.lateness.quantile(0.99)) / 1e3, ServerCPU: &server, Duration: l.Duration.Seconds(),
	}
	if m.deliveries > 0 {
		each := u.server.Seconds() * 1e6 / float64(m.deliveries)
		r.ServerPerMessage = &each
	}
	m.judge(r, f, u)
	return r, f
}

// judge says whether the run counts, and whether the room was in order.
func (m *Members) judge(r *load.Result, f *Figures, u *used) {
	r.Reasons = u.noise.Reasons()
	if float64(m.sent) < leastSent*float64(m.planned) {
		r.Reasons = append(r.Reasons, fmt.Sprintf("only %d of %d messages were sent", m.sent, m.planned))
	}
	switch at := time.Duration(m.lateness.quantile(0.99)); {
	case at > mostLate:
		r.Reasons = append(r.Reasons, fmt.Sprintf("the members were %v late at the 99th percentile, more than %v", at, mostLate))
	case at > late:
		r.Notes = append(r.Notes, fmt.Sprintf("the members were %v late at the 99th percentile", at.Round(10*time.Microsecond)))
	}
	if m.firstFault != "" {
		f.Misses = append(f.Misses, m.firstFault)
	}
	if *f.ClientCPU >= busyClient {
		r.Notes = append(r.Notes, fmt.Sprintf("the members used %.0f %% of their CPU: the server may be capable of more", *f.ClientCPU))
	}
	r.Valid = len(r.Reasons) == 0
	if at, most := time.Duration(m.staleness.quantile(0.99)), m.load.mostStale(); at > most {
		f.Misses = append(f.Misses, fmt.Sprintf("staleness p99 is %v, more than %v", at.Round(100*time.Microsecond), most.Round(100*time.Microsecond)))
	}
	if r.Lost > 0 {
		f.Misses = append(f.Misses, fmt.Sprintf("%d of %d reliable messages were not delivered", r.Lost, f.ReliableDue))
	}
	if m.states == 0 {
		f.Misses = append(f.Misses, "no state arrived")
	}
	if !m.load.App.Relay() {
		m.judgeTicks(f)
	}
}

// judgeTicks judges an authority: its ticks must arrive before the next one begins.
func (m *Members) judgeTicks(f *Figures) {
	taken, said := uint64(0), uint64(0)
	for k := range m.own {
		taken += m.own[k].inputs
		said += uint64(m.own[k].states)
	}
	share := float64(taken) / float64(max(said, 1))
	f.InputsTaken = &share
	if share < leastStates {
		f.Misses = append(f.Misses, fmt.Sprintf("only %.1f %% of the inputs were taken", 100*share))
	}
	if arrived := float64(m.states) / float64(f.StatesDue); arrived < leastStates {
		f.Misses = append(f.Misses, fmt.Sprintf("only %.1f %% of the states arrived", 100*arrived))
	}
	if at := time.Duration(m.latency.quantile(0.99)); at > m.load.App.Tick {
		f.Misses = append(f.Misses, fmt.Sprintf("a state took %v at the 99th percentile, longer than a tick", at.Round(100*time.Microsecond)))
	}
}
