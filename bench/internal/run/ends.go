package run

import (
	"context"
	"slices"

	"godwit.example/godwit/bench/internal/peer"
)

// ends is what a run takes place between.
type ends struct {
	server *Server
	target Banner // what the client connects to: the server, or the proxy in front of it
	client Place
	beside []int // processes that are neither end, and part of the load

	closers []func()
}

func (e *ends) close() {
	for _, f := range slices.Backward(e.closers) {
		f()
	}
}

// open starts everything but the client. r gets what is counted until the end.
func (o *Options) open(ctx context.Context, p *peer.Peer, w *Workload, r *Result) (*ends, error) {
	e := &ends{client: Place{CPU: o.ClientCPU, Procs: max(p.Procs, 1)}}
	if err := o.openAll(ctx, e, p, w, r); err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

// openAll is open; what it has opened before it fails is in e.
func (o *Options) openAll(ctx context.Context, e *ends, p *peer.Peer, w *Workload, r *Result) (err error) {
	server := Place{CPU: o.ServerCPU, Procs: 1}
	if w.Veth {
		v, err := openVeth(ctx)
		if err != nil {
			return err
		}
		e.closers = append(e.closers, v.Close, func() { v.count(r) })
		server.Netns, server.Listen, e.client.Netns = v.server, vethServer, v.client
	}
	if e.server, err = StartServer(ctx, server, p.Name, w.App); err != nil {
		return err
	}
	e.target = e.server.Banner
	e.closers = append(e.closers, func() { e.server.Stop() })
	if w.Path != nil {
		n, err := startNetwork(ctx, Place{CPU: o.ClientCPU, Procs: 1}, e.target.Listen, w.Path, o.Seed)
		if err != nil {
			return err
		}
		e.closers = append(e.closers, func() { n.stop(r) })
		e.target.Listen = n.Listen
		e.beside = append(e.beside, n.PID())
	}
	return nil
}
