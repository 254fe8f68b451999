package run

import (
	"context"
	"fmt"
	"strings"
	"time"

	"godwit.example/godwit/bench/internal/room"
	"godwit.example/godwit/load"
)

// A Workload is one kind of load, the same for all peers.
type Workload struct {
	Name  string
	About string
	App   string // of the server
	Load  load.Config
	// Figures are its columns; the first is what it is about.
	Figures []*Figure
	// Room is the load of a room; Load and App mean nothing then.
	Room *room.Load
	// Memory says that the server's memory beside these connections is the result.
	Memory bool
	// Veth puts both ends into network namespaces, with a cable between them.
	Veth bool
	// Path is the network between both ends; nil is none but the system's.
	Path *Path
	// Long leaves it out of quick comparisons.
	Long bool
}

var (
	latencies = []*Figure{&p50, &p99, &p999, &perMessage, &serverCPU, &late}
	crowds    = []*Figure{&anon, &handshakes}

	throughput = []*Figure{&perMessage, &messages, &serverCPU, &p50, &p99}
	bulk       = []*Figure{&volume, &perByte, &serverCPU}
	recovery   = []*Figure{&p50, &p99, &longest, &perMessage, &late}
)

// Workloads are the definitions of docs/BENCHMARKS.md.
var Workloads = []Workload{
	{Name: "W1", About: "1 connection, 64 B, 1 outstanding", App: "echo", Load: load.Config{Connections: 1, Size: 64, Outstanding: 1}, Figures: latencies},
	{Name: "W2", About: "100 connections, 128 B, open loop of 20,000 messages a second", App: "echo", Load: load.Config{Connections: 100, Size: 128, Rate: 20_000}, Figures: latencies},
	{Name: "W3", About: "100 connections, 64 B, 64 outstanding each", App: "echo", Load: load.Config{Connections: 100, Size: 64, Outstanding: 64}, Figures: throughput},
	{Name: "W4", About: "1 connection, one way, 64 KiB messages, 32 outstanding", App: "sink", Load: load.Config{Connections: 1, Size: 64 << 10, Outstanding: 32, Receipts: true}, Figures: bulk},
	{Name: "W5", About: "1,000 connections, each echoed 10 messages of 64 B, idle 2 s", App: "echo", Load: crowd(1000), Memory: true, Figures: crowds},
	{Name: "W5-10k", About: "10,000 connections, each echoed 10 messages of 64 B, idle 2 s", App: "echo", Load: crowd(10_000), Memory: true, Long: true, Figures: crowds},
	{Name: "W3v", Long: true, About: "100 connections, 64 B, 64 outstanding each; over a veth: MTU 1,500, no segmentation offload", Veth: true, App: "echo", Load: load.Config{Connections: 100, Size: 64, Outstanding: 64}, Figures: throughput},
	{Name: "W4v", Long: true, About: "1 connection, one way, 64 KiB messages, 32 outstanding; over a veth: MTU 1,500, no segmentation offload", Veth: true, App: "sink", Load: load.Config{Connections: 1, Size: 64 << 10, Outstanding: 32, Receipts: true}, Figures: bulk},
	far("W6a", aboutSingle, "echo", 0, farSingle, recovery),
	far("W6a", aboutSingle, "echo", 1, farSingle, recovery),
	far("W6a", aboutSingle, "echo", 5, farSingle, recovery),
	far("W6b", aboutBulk, "sink", 0, farBulk, bulk),
	far("W6b", aboutBulk, "sink", 1, farBulk, bulk),
	far("W6b", aboutBulk, "sink", 5, farBulk, bulk),
}

// crowd lets each of n connections echo ten messages.
func crowd(n int) load.Config {
	const each, rate = 10, 5000
	return load.Config{Connections: n, Size: 64, Rate: rate, Duration: time.Duration(n) * each * time.Second / rate, Warmup: -1, Unhurried: true}
}

// Names are those of all workloads.
func Names() (names []string) {
	for _, w := range Workloads {
		names = append(names, w.Name)
	}
	return names
}

// Named returns the workloads of a list of names with commas between.
func Named(names string) (list []Workload, unknown string) {
	for name := range strings.SplitSeq(names, ",") {
		w, found := withMembers(name)
		if found {
			list = append(list, w)
		}
		for _, w := range Workloads {
			if w.Name == name {
				list, found = append(list, w), true
			}
		}
		if !found {
			return nil, name
		}
	}
	return list, ""
}

// NotHere says why a workload cannot run on this machine; nil if it can. It tries.
func (w *Workload) NotHere(ctx context.Context) error {
	if !w.Veth {
		return nil
	}
	v, err := openVeth(ctx)
	if err == nil {
		v.Close()
	}
	return err
}

var (
	farSingle = load.Config{Connections: 10, Size: 128, Rate: 1000, Unhurried: true} // network.stop judges lateness
	farBulk   = load.Config{Connections: 1, Size: 64 << 10, Outstanding: 32, Receipts: true}
)

const (
	aboutSingle = "10 connections, 128 B, open loop of 1,000 messages a second"
	aboutBulk   = "1 connection, one way, 64 KiB messages, 32 outstanding"
)

// far is a load over 10 ms one way, with a loss in percent.
func far(name, about, app string, loss int, l load.Config, figures []*Figure) Workload {
	return Workload{
		Name: fmt.Sprintf("%s-%d", name, loss), About: fmt.Sprintf("%s; 10 ms and %d %% loss each way", about, loss), App: app, Load: l, Figures: figures,
		Path: &Path{Delay: 10 * time.Millisecond, Loss: float64(loss) / 100}, Long: true,
	}
}
