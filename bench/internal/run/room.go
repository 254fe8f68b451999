package run

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"godwit.example/godwit/bench/internal/peer"
	"godwit.example/godwit/bench/internal/room"
	"godwit.example/godwit/load"
)

const (
	gameRate = 30 // of authorities and their players, in Hz
	// members is how many there are where a name says nothing else: W7@100 has 100.
	members = 50
)

// relay is a room whose server passes on what members say.
func relay(rate float64, size int) *room.Load {
	return &room.Load{Members: members, Size: size, Rate: rate, Each: int(rate)}
}

// authority is a room whose server tells each member what has become of the world.
func authority(state int) *room.Load {
	return &room.Load{Members: members, Size: 64, Rate: gameRate, App: room.App{State: state, Tick: time.Second / gameRate}}
}

var (
	stale = Figure{Name: "staleness p99 ms", Decimals: 1, Of: func(r *Result) *float64 {
		if r.Staleness == nil {
			return nil
		}
		v := r.Staleness.P99 / 1e3
		return &v
	}}
	clientCPU = Figure{Name: "client CPU %", Of: func(r *Result) *float64 {
		if r.Room == nil {
			return nil
		}
		return r.Room.ClientCPU
	}}
	perByteOfMessages = wireFigure("B on the wire/B", 3, (*room.Wire).Each)
	fromServer        = wireFigure("server's B/datagram", 1, func(w *room.Wire) float64 { return w.FromServer.Overhead() })
	toServer          = wireFigure("members' B/datagram", 1, func(w *room.Wire) float64 { return w.ToServer.Overhead() })
	// deliveries are the figures of rooms. A message is what arrived at one member: of an
	// authority that is a tick of one client.
	deliveries = []*Figure{&perMessage, &messages, &serverCPU, &clientCPU, &stale, &p99, &late}
	traffic    = []*Figure{&perByteOfMessages, &fromServer, &toServer, &messages, &perMessage, &stale}
)

func wireFigure(name string, decimals int, of func(*room.Wire) float64) Figure {
	return Figure{Name: name, Decimals: decimals, Of: func(r *Result) *float64 {
		if r.Room == nil || r.Room.Wire == nil {
			return nil
		}
		v := of(r.Room.Wire)
		return &v
	}}
}

// rooms are the workloads of rooms. What a server's work costs is seen with
// godwit-sleep: a shard that is busy looks for more work instead of sleeping, which
// is in its CPU time too.
var rooms = []Workload{
	{Name: "W7", About: "relay: 50 members of a room, each sends the others 20 states of 128 B and a reliable message a second; W7@100: 100 members", Room: relay(20, 128), Figures: deliveries, Long: true},
	{Name: "W7-60", About: "as W7, with 60 states of 200 B", Room: relay(60, 200), Figures: deliveries, Long: true},
	{Name: "W7-1000", About: "as W7, with 20 states of 1,000 B", Room: relay(20, 1000), Figures: deliveries, Long: true},
	{Name: "W8", About: "authority: 50 players, each sends 30 inputs of 64 B and is sent 30 states of 1,000 B a second", Room: authority(1000), Figures: deliveries, Long: true},
	{Name: "W8-4000", About: "as W8, with states of 4,000 B", Room: authority(4000), Figures: deliveries, Long: true},
}

// Each of them also runs over a veth, where the bytes on the wire are counted.
func init() {
	for _, w := range rooms {
		w.Name, w.About, w.Figures, w.Veth = w.Name+"v", w.About+"; over a veth: MTU 1,500, no segmentation offload", traffic, true
		rooms = append(rooms, w)
	}
	Workloads = append(Workloads, rooms...)
}

// withMembers is the workload of a name such as W7@100: a room of so many members.
func withMembers(name string) (w Workload, ok bool) {
	base, count, found := strings.Cut(name, "@")
	n, err := strconv.Atoi(count)
	if !found || err != nil || n < 2 || n > room.MostMembers {
		return w, false
	}
	for _, w := range rooms {
		if w.Name == base {
			l := *w.Room
			l.Members = n
			w.Name, w.Room = name, &l
			return w, true
		}
	}
	return w, false
}

// memberArgs is what the members' process needs to know.
type memberArgs struct {
	Peer, Addr, Secret string
	Server             int    // its process
	Device             string // the way to it, if that is counted
	Load               room.Load
}

// roomResult is what it answers.
type roomResult struct {
	Result  *load.Result
	Figures *room.Figures
}

// runRoom is Run for rooms.
func (o *Options) runRoom(ctx context.Context, p *peer.Peer, w *Workload) *Result {
	r := &Result{Peer: p.Name, Workload: w.Name}
	if p.Room == nil {
		r.Failed = p.Name + " has no server of rooms"
		return r
	}
	l := *w.Room
	if size := max(l.Size, l.App.State); p.MaxMessage > 0 && size > p.MaxMessage {
		r.Failed = fmt.Sprintf("messages of %d B do not fit: %s carries at most %d", size, p.Name, p.MaxMessage)
		return r
	}
	l.Duration, l.Warmup = o.Duration, o.Warmup
	ctx, cancel := context.WithTimeout(ctx, l.Duration+l.Warmup+limit)
	defer cancel()
	server, client := Place{CPU: o.ServerCPU, Procs: 1}, Place{CPU: o.ClientCPU, Procs: max(p.Procs, 1)}
	args := memberArgs{Peer: p.Name, Load: l}
	if w.Veth {
		v, err := openVeth(ctx)
		if err != nil {
			r.Failed = err.Error()
			return r
		}
		defer v.Close()
		server.Netns, server.Listen, client.Netns, args.Device = v.server, vethServer, v.client, vethDevice
	}
	s, err := StartServer(ctx, server, p.Name, l.App.String())
	if err != nil {
		r.Failed = err.Error()
		return r
	}
	defer s.Stop()
	args.Addr, args.Secret, args.Server = s.Listen, s.Secret, s.PID()
	answer, err := runMembers(ctx, client, &args)
	if err != nil {
		r.Failed = err.Error()
		return r
	}
	r.Result, r.Room = answer.Result, answer.Figures
	r.BytesPerSecond = r.MessagesPerSecond * float64(max(l.App.State, l.Size))
	return r
}

// runMembers runs the members' process.
func runMembers(ctx context.Context, at Place, args *memberArgs) (r roomResult, err error) {
	text, err := json.Marshal(args)
	if err != nil {
		return r, err
	}
	cmd, err := at.command(ctx, "members", string(text))
	if err != nil {
		return r, err
	}
	var said limited
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("%w: %s", bound(err), said.String())
	}
	return r, json.Unmarshal(out, &r)
}

// Members is the members' process; text is what runMembers encoded.
func Members(ctx context.Context, text string, out io.Writer) error {
	var args memberArgs
	if err := json.Unmarshal([]byte(text), &args); err != nil {
		return fmt.Errorf("arguments %q: %w", text, err)
	}
	p, err := peer.Named(args.Peer)
	if err != nil {
		return err
	}
	addr, err := netip.ParseAddrPort(args.Addr)
	if err != nil {
		return err
	}
	var r roomResult
	if r.Result, r.Figures, err = room.Run(ctx, &args.Load, p.Members(&args.Load, addr, args.Secret), args.Server, args.Device); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(r)
}
