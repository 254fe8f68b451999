package run

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"godwit.example/godwit/netem"
)

// Path is a bad network between client and server, alike in both directions.
type Path struct {
	Delay time.Duration // one way
	Loss  float64       // share of the datagrams
}

// network is a proxy on the way to a server, a process of its own.
type network struct{ *Server }

// networkTask is what that process is told, as its one argument.
type networkTask struct {
	Target string
	Path   Path
	Seed   uint64
}

// startNetwork starts the proxy. With the same seed, the datagrams of the same
// numbers are lost.
func startNetwork(ctx context.Context, at Place, target string, path *Path, seed uint64) (*network, error) {
	task, err := json.Marshal(networkTask{target, *path, seed})
	if err != nil {
		return nil, err
	}
	p, err := startServer(ctx, at, "the bad network", "netem", string(task))
	return &network{p}, err
}

// Network is the proxy's process, until in ends. It prints its address, and at the
// end what it counted.
func Network(ctx context.Context, task string, in io.Reader, out io.Writer) error {
	var t networkTask
	if err := json.Unmarshal([]byte(task), &t); err != nil {
		return fmt.Errorf("the task of a bad network: %w", err)
	}
	link := netem.Link{Delay: t.Path.Delay, Loss: t.Path.Loss}
	p, err := netem.Listen(netem.Config{Target: t.Target, Up: link, Down: link, Seed: t.Seed})
	if err != nil {
		return err
	}
	defer p.Close()
	lines := json.NewEncoder(out)
	if err := lines.Encode(Banner{Listen: p.Addr().String()}); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, in)
		close(ended)
	}()
	select {
	case <-ended:
	case <-ctx.Done():
	}
	return lines.Encode(p.Stats())
}

// mostLate is how late the proxy may be in the mean, and the generator of an open
// loop at the 99th percentile: more would be seen beside round trips of 20 ms.
const mostLate = time.Millisecond

// stop ends the proxy and tells r what it counted, and whether r measured another
// network than it was meant to.
func (n *network) stop(r *Result) {
	var s netem.Stats
	_ = n.stdin.Close()
	err := json.NewDecoder(n.out).Decode(&s)
	if said := n.Stop(); err != nil {
		if r.Failed == "" {
			r.Result, r.Failed = nil, fmt.Sprintf("the bad network: %v\n%s", err, said)
		}
		return
	}
	if r.Network = &s; r.Result == nil {
		return
	}
	faults := networkFaults(&s)
	if late := time.Duration(r.GeneratorLateness * float64(time.Microsecond)); late > mostLate {
		faults = append(faults, fmt.Sprintf("the generator was %v late at the 99th percentile, more than %v", late.Round(time.Microsecond), mostLate))
	}
	if faults != nil {
		r.Valid, r.Reasons = false, append(r.Reasons, faults...)
	}
}

func networkFaults(s *netem.Stats) (list []string) {
	if n := s.KernelDrops + s.Up.Overflowed + s.Down.Overflowed + s.Up.Unsent + s.Down.Unsent; n > 0 {
		list = append(list, fmt.Sprintf("the bad network dropped %d datagrams for want of room", n))
	}
	if late := max(s.Up.MeanLateness, s.Down.MeanLateness); late > mostLate {
		list = append(list, fmt.Sprintf("the bad network was %v late in the mean, more than %v", late.Round(time.Microsecond), mostLate))
	}
	return list
}
