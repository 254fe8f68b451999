package load

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"godwit.example/godwit/internal/mono"
)

// A sample is what is known at one end of a measurement.
type sample struct {
	at       mono.Time
	echoed   uint64
	machine  machine
	own      time.Duration
	ownOK    bool
	server   serverFigures
	serverOK bool
}

// serverFigures is what a server says of itself.
type serverFigures struct {
	cpu     time.Duration // used so far
	packets packetCounts  // what it sent, so far
	counted bool          // it counts packets
}

// readServer reads a server's figures; ok is false if it cannot.
type readServer func(context.Context) (f serverFigures, ok bool)

func takeSample(ctx context.Context, g *generator, server readServer, beside []int) sample {
	s := sampleProcesses(append(slices.Clone(beside), 0))
	s.at, s.echoed = mono.Now(), g.echoed.Load()
	if server != nil {
		s.server, s.serverOK = server(ctx)
	}
	return s
}

// usage is what happened between two samples. What could not be read is nil.
type usage struct {
	serverPercent *float64 // of one CPU
	serverMicros  *float64 // a message
	other         *float64 // share of the machine that neither end of the load used
	steal         *float64 // share of the machine that the hypervisor kept
	stolen        *float64 // percent that it kept of the CPU that it kept most of
	notes         []string // what could not be judged for want of figures
}

// spent is how the time between two samples was spent.
type spent struct {
	Elapsed, Server, Own, All, Busy, Steal time.Duration
	Kept                                   []time.Duration // by the hypervisor, of each CPU
	Echoed                                 uint64
	ServerOK, OwnOK, MachineOK             bool

	ServerPackets packetCounts
	ServerCounted bool
}

func spentBetween(a, b *sample) spent {
	s := spent{
		Elapsed: b.at.Sub(a.at), Server: b.server.cpu - a.server.cpu, Own: b.own - a.own, Echoed: b.echoed - a.echoed,
		All: b.machine.all - a.machine.all, Busy: b.machine.busy - a.machine.busy, Steal: b.machine.steal - a.machine.steal,
		ServerOK: a.serverOK && b.serverOK, OwnOK: a.ownOK && b.ownOK, MachineOK: a.machine.ok && b.machine.ok,
	}
	if s.ServerCounted = s.ServerOK && a.server.counted && b.server.counted; s.ServerCounted {
		s.ServerPackets = b.server.packets.since(&a.server.packets)
	}
	for i := range min(len(a.machine.kept), len(b.machine.kept)) {
		s.Kept = append(s.Kept, b.machine.kept[i]-a.machine.kept[i])
	}
	return s
}

// usage relates what was spent. local says that the server runs on this
// machine, so that its time is not anybody else's.
func (s *spent) usage(local bool) usage {
	var u usage
	elapsed, server, all := s.Elapsed.Seconds(), s.Server.Seconds(), s.All.Seconds()
	known := s.ServerOK && elapsed > 0
	if known {
		u.serverPercent = ptr(100 * server / elapsed)
		if s.Echoed > 0 {
			u.serverMicros = ptr(1e6 * server / float64(s.Echoed))
		}
	}
	if !s.MachineOK || all <= 0 {
		u.notes = append(u.notes, "other programs' CPU time was not judged: the machine's is unknown")
		return u
	}
	u.steal = ptr(s.Steal.Seconds() / all)
	for _, kept := range s.Kept {
		if percent := 100 * kept.Seconds() / elapsed; u.stolen == nil || percent > *u.stolen {
			u.stolen = ptr(percent)
		}
	}
	if s.OwnOK && (known || !local) {
		other := (s.Busy - s.Own).Seconds()
		if local {
			other -= server
		}
		u.other = ptr(max(other, 0) / all)
	} else {
		u.notes = append(u.notes, "other programs' CPU time was not judged: the server's is unknown")
	}
	return u
}

func ptr[T any](v T) *T { return &v }

// varz reads the server's figures from its admin pages.
func varz(addr string) readServer {
	return func(ctx context.Context) (serverFigures, bool) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		f, err := readVarz(ctx, addr)
		return f, err == nil
	}
}

func readVarz(ctx context.Context, addr string) (f serverFigures, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/varz", nil)
	if err != nil {
		return f, err
	}
	once := http.Transport{DisableKeepAlives: true} // asked twice, far apart
	response, err := once.RoundTrip(request)
	if err != nil {
		return f, err
	}
	defer response.Body.Close()
	var page struct {
		Process struct {
			CPU *float64 `json:"cpu_s"`
		} `json:"process"`
		Endpoint *struct {
			Packets  uint64 `json:"packets_sent"`
			Lost     uint64 `json:"packets_lost"`
			Messages uint64 `json:"messages_sent"`
			Repeated uint64 `json:"messages_retransmitted"`
		} `json:"endpoint"`
	}
	switch err := json.NewDecoder(response.Body).Decode(&page); {
	case err != nil:
		return f, err
	case page.Process.CPU == nil:
		return f, fmt.Errorf("no process.cpu_s at http://%s/varz", addr)
	}
	f.cpu = time.Duration(*page.Process.CPU * float64(time.Second))
	if e := page.Endpoint; e != nil {
		f.packets, f.counted = packetCounts{Packets: e.Packets, Lost: e.Lost, Messages: e.Messages, Repeated: e.Repeated}, true
	}
	return f, nil
}
