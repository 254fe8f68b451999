package load

import (
	"context"
	"net/netip"
	"time"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/udp"
)

// maxDatagram is the largest message of the UDP reference: one that fits in a
// datagram on any path that godwit would use.
const maxDatagram = 1452

// longestWait bounds a wait, so that a loop notices that it is to stop.
const longestWait = 100 * time.Millisecond

// rawUDP is how both ends open their sockets: one datagram a message, many a
// system call. Segmentation offload is off, because it would need equal messages
// side by side, which one-message datagrams of many connections are not.
func rawUDP() udp.Config {
	return udp.Config{DisableGSO: true, DisableGRO: true, DisablePacketInfo: true}
}

// serveUDP echoes datagrams, in batches as large as the load makes them.
func serveUDP(stop <-chan struct{}, ready func(netip.AddrPort)) error {
	cfg := rawUDP()
	cfg.Addr = netip.MustParseAddrPort("127.0.0.1:0")
	engine, err := udp.Open(cfg)
	if err != nil {
		return err
	}
	defer engine.Close()
	ready(engine.LocalAddr().AddrPort())
	var in udp.ReadBatch
	defer in.Free()
	var out udp.WriteBatch
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if engine.Read(&in) == 0 {
			engine.Wait(mono.Now(), longestWait)
			continue
		}
		out.Outs = out.Outs[:0]
		for i := range in.Datagrams[:in.N] {
			d := &in.Datagrams[i]
			out.Outs = append(out.Outs, udp.Out{Data: d.Data, Remote: d.Remote, Socket: d.Socket})
		}
		for {
			sent, blocked := engine.Write(&out)
			if !blocked {
				break
			}
			// The batch's memory is needed for the next read, so what is left
			// must leave first.
			out.Outs = out.Outs[sent:]
			engine.Wait(mono.Now(), mono.Duration(50*time.Microsecond))
		}
	}
}

// udpClient is the client's end: one connected socket a connection.
type udpClient struct {
	addr   netip.AddrPort
	engine *udp.Engine
	in     udp.ReadBatch
	out    udp.WriteBatch
	arena  []byte // the messages in out
	number []int  // of the connection of each socket
	socket []uint32
}

func newUDPClient(addr netip.AddrPort) *udpClient { return &udpClient{addr: addr} }

func (t *udpClient) Connect(_ context.Context, connections int) error {
	cfg := rawUDP()
	cfg.Client = true
	engine, err := udp.Open(cfg)
	if err != nil {
		return err
	}
	t.engine = engine
	for k := range connections {
		n, err := engine.Connect(udp.AddrFrom(t.addr))
		if err != nil {
			return errConnection(k, err)
		}
		for int(n) >= len(t.number) {
			t.number = append(t.number, 0)
		}
		t.number[n] = k
		t.socket = append(t.socket, n)
	}
	return nil
}

// mostQueued and mostWaiting bound what waits for a blocked socket, in messages
// and bytes.
const (
	mostQueued  = 4096
	mostWaiting = 16 << 20
)

func (t *udpClient) Send(k int, p []byte) bool {
	if len(t.out.Outs) >= mostQueued || len(t.arena) >= mostWaiting {
		return false
	}
	from := len(t.arena)
	t.arena = append(t.arena, p...)
	t.out.Outs = append(t.out.Outs, udp.Out{Data: t.arena[from:len(t.arena):len(t.arena)], Socket: t.socket[k]})
	return true
}

// flush sends what the generator queued.
func (t *udpClient) flush() {
	if len(t.out.Outs) == 0 {
		return
	}
	sent, blocked := t.engine.Write(&t.out)
	if blocked {
		n := copy(t.out.Outs, t.out.Outs[sent:])
		t.out.Outs = t.out.Outs[:n]
		return
	}
	t.out.Outs, t.arena = t.out.Outs[:0], t.arena[:0]
}

func (t *udpClient) Drive(ctx context.Context, l *Load) error {
	for ctx.Err() == nil {
		left, done := l.Turn()
		if done {
			return nil
		}
		t.flush()
		if t.engine.Read(&t.in) == 0 {
			wait := longestWait
			if len(t.out.Outs) > 0 {
				wait = blockedWait
			}
			if !l.Spins(left) {
				t.engine.Wait(mono.Now(), min(left, wait))
			}
			continue
		}
		l.Arrived()
		for i := range t.in.Datagrams[:t.in.N] {
			d := &t.in.Datagrams[i]
			l.Message(t.number[d.Socket], d.Data)
		}
		t.flush()
	}
	return context.Cause(ctx)
}

// blockedWait is the pause before a full socket is tried again.
const blockedWait = 50 * time.Microsecond

func (t *udpClient) remote() netip.Addr { return t.addr.Addr() }

func (t *udpClient) packets() (packetCounts, bool) { return packetCounts{}, false }

func (t *udpClient) Close() {
	if t.engine != nil {
		t.in.Free()
		_ = t.engine.Close()
	}
}
