package netem

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/internal/impair"
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/udp"
	"pgregory.net/rapid"
)

func TestAGodwitConnectionSurvivesRebindingAndLoss(t *testing.T) {
	server, err := godwit.Listen("127.0.0.1:0", &godwit.Config{Handler: godwit.Handler{
		Message: func(c godwit.Conn, m godwit.Message) { _ = c.SendMessage(m) },
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	link := Link{Delay: 2 * ms, Loss: 0.05}
	p, err := Listen(Config{Target: server.Addr().String(), Up: link, Down: link, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := godwit.Dial(ctx, p.Addr().String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 60 {
		if i%20 == 10 {
			if n, err := p.Rebind(); n != 1 || err != nil {
				t.Fatalf("%d clients, %v", n, err)
			}
		}
		if i == 35 {
			if err := p.Blackout(100 * ms); err != nil {
				t.Fatal(err)
			}
		}
		want := fmt.Sprint("message ", i)
		if err := c.SendWait(ctx, godwit.Message{Payload: []byte(want)}); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if m, err := c.Receive(ctx, nil); err != nil || string(m.Payload) != want {
			t.Fatalf("message %d: %q, %v", i, m.Payload, err)
		}
	}
	if s := p.Stats(); s.Rebinds != 3 || s.Flows != 1 || s.Up.Lost+s.Down.Lost == 0 || s.Up.BlackedOut == 0 {
		t.Errorf("%+v", s)
	}
}

// TestABusySocketStarvesNoOther floods one client and sends from another meanwhile.
func TestABusySocketStarvesNoOther(t *testing.T) {
	server, flooded, client := socket(t), socket(t), socket(t)
	p := proxyTo(t, server, Config{})
	send(t, flooded, p.Addr(), []byte("x"))
	to := drain(t, server, 1, time.Second)[0].from
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for data := make([]byte, 100); ; {
			select {
			case <-stop:
				return
			default:
				_, _ = server.WriteToUDPAddrPort(data, to)
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	time.Sleep(50 * ms)
	for i := range 10 {
		send(t, client, p.Addr(), numbered(i, 8))
		if got := drain(t, server, 1, time.Second); len(got) != 1 || got[0].n != i {
			t.Fatalf("datagram %d: received %v", i, got)
		}
	}
}

func TestDropsOfTheKernelAreReported(t *testing.T) {
	server, client := socket(t), socket(t)
	p := proxyTo(t, server, Config{})
	held, sent := make(chan struct{}), make(chan struct{})
	go func() {
		_ = p.do(func() { close(held); <-sent }) // the test fails without
	}()
	<-held
	for range 30_000 { // three times what a buffer of 4 MiB holds
		send(t, client, p.Addr(), []byte("x"))
	}
	close(sent)
	for range 100 {
		send(t, client, p.Addr(), []byte("x"))
		time.Sleep(ms)
		if p.Stats().KernelDrops > 0 {
			return
		}
	}
	if udp.Best != "linux" {
		t.Skip("this system does not say what it drops")
	}
	t.Errorf("no drops are known: %+v", p.Stats())
}

// TestNothingComesFromNothing sends through random links: all that arrives was sent, at most twice, whole and with at most one bit changed.
func TestNothingComesFromNothing(t *testing.T) {
	server, client := socket(t), socket(t)
	rapid.Check(t, func(r *rapid.T) {
		share := rapid.SampledFrom([]float64{0, 0, 0.02, 0.3})
		few := rapid.SampledFrom([]time.Duration{0, 0, 300 * time.Microsecond, 3 * ms})
		link := Link{
			Delay: few.Draw(r, "delay"), Jitter: few.Draw(r, "jitter"), Loss: share.Draw(r, "loss"), Burst: share.Draw(r, "burst"), BurstLength: 3,
			Reorder: share.Draw(r, "reorder"), ReorderDelay: few.Draw(r, "detour"), Duplicate: share.Draw(r, "duplicate"), Corrupt: share.Draw(r, "corrupt"),
			Rate: rapid.SampledFrom([]int64{0, 10_000_000}).Draw(r, "rate"), Queue: rapid.SampledFrom([]int64{0, 20_000}).Draw(r, "queue"),
			MTU: rapid.SampledFrom([]int{0, 1000}).Draw(r, "mtu"),
		}
		p, err := Listen(Config{Target: addrOf(server).String(), Up: link, Seed: rapid.Uint64().Draw(r, "seed")})
		if err != nil {
			r.Fatal(err)
		}
		defer p.Close()
		sent := make([][]byte, rapid.IntRange(1, 200).Draw(r, "n"))
		for i := range sent {
			sent[i] = bytes.Repeat([]byte{byte(i)}, rapid.IntRange(24, 1400).Draw(r, "size"))
			copy(sent[i], fmt.Sprintf("%4d%4d", i, len(sent[i])))
			send(t, client, p.Addr(), sent[i])
		}
		copies := make([]int, len(sent))
		var arrived []received
		var s Stats
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
			arrived = append(arrived, drain(t, server, 2*len(sent)+1, 2*ms)...)
			if s = p.Stats(); s.Up.Received == uint64(len(sent)) && s.Up.UnderWay == 0 && uint64(len(arrived)) >= s.Up.Forwarded {
				break
			}
		}
		for _, got := range arrived {
			i := slices.IndexFunc(sent, func(s []byte) bool { return differ(s, []byte(got.data)) <= 1 })
			if i < 0 {
				r.Fatalf("nobody sent %q", got.data)
			}
			copies[i]++
		}
		if most := slices.Max(copies); most > 2 {
			r.Fatalf("a datagram arrived %d times", most)
		}
		balance(t, s)
		if s.Up.UnderWay != 0 || s.Up.Forwarded != uint64(len(arrived)) {
			r.Fatalf("%d arrived: %+v", len(arrived), s.Up)
		}
	})
}

// differ counts the bits that differ; two of different lengths differ in many.
func differ(a, b []byte) (bits int) {
	if len(a) != len(b) {
		return 1000
	}
	for i := range a {
		for d := a[i] ^ b[i]; d != 0; d &= d - 1 {
			bits++
		}
	}
	return bits
}

// engines are a client and a server of trains, with a proxy between them that the test drives.
func engines(t *testing.T, cfg Config) (p *Proxy, client, server *udp.Engine) {
	t.Helper()
	closing := func(c interface{ Close() error }) { t.Cleanup(func() { c.Close() }) }
	server, err := udp.Open(udp.Config{Addr: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	closing(server)
	cfg.Target = server.LocalAddr().String()
	if p, err = open(cfg); err != nil {
		t.Fatal(err)
	}
	closing(p.engine)
	if client, err = udp.Open(udp.Config{Client: true}); err != nil {
		t.Fatal(err)
	}
	closing(client)
	if _, err := client.Connect(udp.AddrFrom(p.Addr())); err != nil {
		t.Fatal(err)
	}
	return p, client, server
}

// TestTrainsStayTogetherUntilSomethingPartsThem counts what the proxy sends in one piece.
func TestTrainsStayTogetherUntilSomethingPartsThem(t *testing.T) {
	const segments, size, several = 20, 100, -1
	train := make([]byte, segments*size-30) // the last one is shorter
	for i := range train {
		train[i] = byte(i / size)
	}
	if runtime.GOOS != "linux" {
		t.Skip("segmentation offload is Linux's")
	}
	lossy := Link{Loss: 0.3}
	for name, c := range map[string]struct {
		cfg     Config
		entries int
		bytes   int
	}{
		"whole":      {Config{}, 1, len(train)},
		"delayed":    {Config{Up: Link{Delay: ms}}, 1, len(train)},
		"lossy":      {Config{Up: lossy}, 1, size * len(predict(lossy, 0, 0, segments, size))},
		"jitter":     {Config{Up: Link{Jitter: 2 * ms}}, several, len(train)}, // who would overtake is due together with the one in front
		"bottleneck": {Config{Up: Link{Rate: 1_000_000}}, segments, len(train)},
		"single":     {Config{DisableOffload: true}, segments, len(train)},
	} {
		t.Run(name, func(t *testing.T) {
			p, client, server := engines(t, c.cfg)
			client.Write(&udp.WriteBatch{Outs: []udp.Out{{Data: train, Segment: size}}})
			var in udp.ReadBatch
			defer in.Free()
			var got []byte
			for deadline := time.Now().Add(5 * time.Second); len(got) < c.bytes-30 && time.Now().Before(deadline); {
				p.called.Store(true) // or it would sleep
				p.turn()
				for server.Read(&in); in.N > 0; server.Read(&in) {
					for _, d := range in.Datagrams[:in.N] {
						got = append(got, d.Data...)
					}
				}
			}
			if len(got) < c.bytes-30 || len(got) > c.bytes || !slices.IsSorted(got) {
				t.Errorf("%d bytes arrived, or others, want %d", len(got), c.bytes)
			}
			if n := int(p.engine.Stats().WriteEntries); n != c.entries && (c.entries != several || n < 2) {
				t.Errorf("sent in %d pieces, want %d", n, c.entries)
			}
		})
	}
}

func TestTheLoopDoesNotAllocate(t *testing.T) {
	link := Link{Delay: 100 * time.Microsecond, Jitter: 50 * time.Microsecond, Loss: 0.05, Reorder: 0.1, ReorderDelay: ms, Duplicate: 0.1, Corrupt: 0.1, Rate: 1 << 30, Queue: 1 << 20}
	p, client, server := engines(t, Config{Up: link, Down: link})
	var out, back udp.WriteBatch
	var in, atServer udp.ReadBatch
	defer in.Free()
	defer atServer.Free()
	payload := make([]byte, 16*100)
	round := func() {
		out.Outs = append(out.Outs[:0], udp.Out{Data: payload, Segment: 100}, udp.Out{Data: payload[:77]})
		client.Write(&out)
		p.engine.Wake()
		p.turn()
		server.Read(&atServer)
		back.Outs = back.Outs[:0]
		for _, d := range atServer.Datagrams[:atServer.N] {
			back.Outs = append(back.Outs, udp.Out{Data: d.Data, Segment: d.Segment, Remote: d.Remote, Local: d.Local})
		}
		server.Write(&back)
		client.Read(&in)
	}
	for range 20_000 {
		round()
	}
	if n := testing.AllocsPerRun(1000, round); n > 0 {
		t.Errorf("%v allocations a turn", n)
	}
	if s := p.stats(); s.Down.Forwarded < 20_000 {
		t.Errorf("hardly anything passed: %+v", s)
	}
}

func TestTheStoreKeepsDatagramsApart(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := store{most: 3}
		type entry struct {
			p    place
			want byte
		}
		var held []entry
		bytesHeld := 0
		for i := range rapid.IntRange(1, 200).Draw(r, "steps") {
			if len(held) > 0 && rapid.Bool().Draw(r, "drop") {
				k := rapid.IntRange(0, len(held)-1).Draw(r, "which")
				for _, b := range s.bytes(held[k].p) {
					if b != held[k].want {
						r.Fatalf("a datagram of %d became %d", held[k].want, b)
					}
				}
				bytesHeld -= int(held[k].p.size)
				s.drop(held[k].p)
				held = slices.Delete(held, k, k+1)
				continue
			}
			data := bytes.Repeat([]byte{byte(i)}, rapid.SampledFrom([]int{0, 1, 1000, maxDatagram}).Draw(r, "size"))
			p, ok := s.put(data)
			if !ok && len(held) == 0 {
				r.Fatal("an empty store is full")
			}
			if ok {
				held = append(held, entry{p, byte(i)})
				bytesHeld += len(data)
			}
		}
		if len(s.chunks) > 3 || bytesHeld > 3*chunkSize {
			r.Fatalf("%d chunks, %d bytes", len(s.chunks), bytesHeld)
		}
	})
}

func TestTheScheduleKeepsTheOrderOfTimes(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s := schedule{seq: rapid.SampledFrom([]uint32{0, ^uint32(0) - 5}).Draw(r, "seq")}
		var want []impair.Verdict // At, and the slot as CorruptBit
		for i := range rapid.IntRange(1, 100).Draw(r, "n") {
			if len(want) > 0 && rapid.IntRange(0, 2).Draw(r, "pop") == 0 {
				if got := s.pop(); got.at != want[0].At || got.slot != uint32(want[0].CorruptBit) {
					r.Fatalf("popped %v, want %v", got, want[0])
				}
				want = want[1:]
			}
			at := mono.Time(rapid.IntRange(0, 10).Draw(r, "at"))
			s.push(at, uint32(i))
			k, _ := slices.BinarySearchFunc(want, at, func(v impair.Verdict, at mono.Time) int {
				if v.At <= at {
					return -1
				}
				return 1
			})
			want = slices.Insert(want, k, impair.Verdict{At: at, CorruptBit: i})
			if s.next() != want[0].At {
				r.Fatalf("next is %v, want %v", s.next(), want[0].At)
			}
		}
	})
}
