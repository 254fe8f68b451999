package netem

import (
	"fmt"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/udp"
)

// flows are the clients.
type flows struct {
	byClient map[udp.Addr]uint32
	all      []flow
	spare    []uint32
	bySocket []uint32 // the flow of each socket on the target's side

	// The client of the last datagram, which is mostly that of the next.
	last     udp.Addr
	lastFlow uint32
	known    bool // there is such a one

	check                    mono.Time // when the next may have been silent for long enough
	opened, expired, rebinds uint64
}

// flow is a client.
type flow struct {
	client   udp.Addr // as the proxy sees it; zero if the flow is spare
	local    udp.Addr // the address of the proxy that it sends to
	socket   uint32   // on the target's side
	underWay uint32   // datagrams of both directions: it cannot be forgotten
	used     mono.Time
}

// flowOf finds the flow of a client, or makes one.
func (p *Proxy) flowOf(d *udp.Datagram, now mono.Time) (uint32, bool) {
	f := &p.flows
	if d.Remote == f.last && f.known {
		f.all[f.lastFlow].used = now
		return f.lastFlow, true
	}
	n, ok := f.byClient[d.Remote]
	if !ok {
		if len(f.byClient) >= p.cfg.MaxFlows {
			return 0, false
		}
		socket, err := p.engine.Connect(p.target)
		if err != nil {
			return 0, false
		}
		n = f.open(flow{client: d.Remote, local: d.Local, socket: socket})
		if p.cfg.IdleTimeout > 0 {
			f.check = min(f.check, now.Add(p.cfg.IdleTimeout))
		}
	}
	f.all[n].used = now
	f.last, f.lastFlow, f.known = d.Remote, n, true
	return n, true
}

// open gives a flow its number.
func (f *flows) open(fl flow) uint32 {
	n := uint32(len(f.all))
	if k := len(f.spare); k > 0 {
		n, f.spare = f.spare[k-1], f.spare[:k-1]
		f.all[n] = fl
	} else {
		f.all = append(f.all, fl)
	}
	f.byClient[fl.client] = n
	f.assign(fl.socket, n)
	f.opened++
	return n
}

// assign notes whose socket it is.
func (f *flows) assign(socket, n uint32) {
	for int(socket) >= len(f.bySocket) {
		f.bySocket = append(f.bySocket, 0)
	}
	f.bySocket[socket] = n
}

// expire forgets the clients that were silent for Config.IdleTimeout.
func (p *Proxy) expire(now mono.Time) {
	f := &p.flows
	f.check = mono.Never
	for client, n := range f.byClient {
		fl := &f.all[n]
		end := fl.used.Add(p.cfg.IdleTimeout)
		switch {
		case end > now:
			f.check = min(f.check, end)
		case fl.underWay > 0: // the last of it comes back to this
			f.check = min(f.check, now.Add(p.cfg.IdleTimeout))
		default:
			p.engine.CloseSocket(fl.socket)
			delete(f.byClient, client)
			*fl = flow{}
			f.spare = append(f.spare, n)
			f.known = false
			f.expired++
		}
	}
}

// rebind moves every flow to another socket.
func (p *Proxy) rebind() (count int, err error) {
	f := &p.flows
	for _, n := range f.byClient {
		fl := &f.all[n]
		// While the old one is open its port is not given again.
		socket, err := p.engine.Connect(p.target)
		if err != nil {
			return count, fmt.Errorf("netem: rebind: %w", err)
		}
		p.engine.CloseSocket(fl.socket)
		for i := range p.up.out.Outs { // waits for a full socket
			if o := &p.up.out.Outs[i]; o.Socket == fl.socket {
				o.Socket = socket
			}
		}
		fl.socket = socket
		f.assign(socket, n)
		f.rebinds++
		count++
	}
	return count, nil
}
