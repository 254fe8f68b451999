package godwit_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"godwit.example/godwit"
)

func TestBadNetworkIsSurvived(t *testing.T) {
	bad := godwit.Link{
		Delay: 5 * time.Millisecond, Jitter: 3 * time.Millisecond, Loss: 0.1, Burst: 0.05, BurstLength: 3, Reorder: 0.05,
		ReorderDelay: 10 * time.Millisecond, Duplicate: 0.05, Corrupt: 0.02,
	}
	e := listen(t, godwit.Config{Handler: echo, Shards: 1})
	c := dial(t, e, godwit.Config{Impair: &godwit.Impair{Send: bad, Receive: bad, Seed: 1}})
	ctx := deadline(t, 30*time.Second)
	const n = 300
	for i := range n {
		payload := append(fmt.Append(nil, i, " "), bytes.Repeat([]byte{'x'}, i*17%3000)...)
		if err := c.SendWait(ctx, godwit.Message{Payload: payload}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		m, err := c.Receive(ctx, nil)
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		if want := fmt.Append(nil, i, " "); !bytes.HasPrefix(m.Payload, want) || len(m.Payload) != len(want)+i*17%3000 {
			t.Fatalf("message %d is %.20q of %d bytes", i, m.Payload, len(m.Payload))
		}
	}
	waitFor(t, 2*time.Second, "the client's figures show the bad network", func() bool {
		st := c.Endpoint().Stats()
		return st.Impaired && st.ImpairDropped > 0 && st.PacketsLost > 0 && st.DuplicatePackets > 0 && st.FailedPackets > 0
	})
	if st := e.Stats(); st.Impaired || st.ImpairDropped != 0 {
		t.Error("the server's figures say that its network is impaired")
	}
}

func TestImpairedLinkTakesItsTime(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 1, Impair: &godwit.Impair{Receive: godwit.Link{Delay: 15 * time.Millisecond}}})
	c := dial(t, e, godwit.Config{Impair: &godwit.Impair{Send: godwit.Link{Delay: 20 * time.Millisecond}, Receive: godwit.Link{Delay: 5 * time.Millisecond}}})
	least := time.Hour
	for i := range 5 {
		began := time.Now()
		exchange(t, c, fmt.Sprint(i))
		least = min(least, time.Since(began))
	}
	if least < 40*time.Millisecond || least > 80*time.Millisecond {
		t.Errorf("a round trip takes %v, not 40 ms", least)
	}
}

func TestImpairedShareOfUnreliableMessagesArrives(t *testing.T) {
	var got atomic.Int64
	e := listen(t, godwit.Config{Shards: 1, Handler: godwit.Handler{Message: func(godwit.Conn, godwit.Message) { got.Add(1) }}})
	c := dial(t, e, godwit.Config{Impair: &godwit.Impair{Send: godwit.Link{Loss: 0.3}, Seed: 3}})
	const n = 1000
	for range n {
		if err := c.Send(godwit.UnreliableChannel, make([]byte, 900)); err != nil { // one a datagram
			t.Fatal(err)
		}
		time.Sleep(200 * time.Microsecond)
	}
	waitFor(t, 5*time.Second, "the rest has arrived", func() bool { return got.Load() > n*6/10 })
	time.Sleep(50 * time.Millisecond)
	if share := float64(got.Load()) / n; share < 0.6 || share > 0.8 {
		t.Errorf("%.2f of the messages arrived although 0.3 of the datagrams were lost", share)
	}
}

func TestImpairedRateIsKept(t *testing.T) {
	var bytes atomic.Int64
	e := listen(t, godwit.Config{Shards: 1, Handler: godwit.Handler{Message: func(_ godwit.Conn, m godwit.Message) { bytes.Add(int64(len(m.Payload))) }}})
	c := dial(t, e, godwit.Config{Impair: &godwit.Impair{Send: godwit.Link{Delay: 5 * time.Millisecond, Rate: 400_000, Queue: 20_000}}})
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for c.SendWait(ctx, godwit.Message{Payload: make([]byte, 1000)}) == nil {
	}
	if got := bytes.Load(); got < 100_000 || got > 420_000 {
		t.Errorf("%d bytes a second crossed a link of 400,000", got)
	}
}

func TestCloseCrossesTheImpairedLink(t *testing.T) {
	ended := make(chan error, 1)
	e := listen(t, godwit.Config{Shards: 1, Handler: godwit.Handler{
		Message: echo.Message, Close: func(_ godwit.Conn, err error) { ended <- err },
	}})
	slow := godwit.Link{Delay: 20 * time.Millisecond}
	c := dial(t, e, godwit.Config{Impair: &godwit.Impair{Send: slow, Receive: slow}})
	exchange(t, c, "open")
	c.CloseWithError(9, "enough")
	select {
	case err := <-ended:
		if !strings.Contains(err.Error(), "enough") {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the server was not told")
	}
}

func TestImpairedEndpointSaysSo(t *testing.T) {
	var text logBuffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	e := listen(t, godwit.Config{Handler: echo, Logger: log, Impair: &godwit.Impair{Send: godwit.Link{Loss: 0.01}}})
	if !strings.Contains(text.b.String(), "level=WARN") || !strings.Contains(text.b.String(), "Impair") {
		t.Errorf("the log says nothing of it:\n%s", &text.b)
	}
	if !e.Stats().Impaired {
		t.Error("the figures say nothing of it")
	}
}

func TestImpossibleImpairmentsAreNamed(t *testing.T) {
	for field, impair := range map[string]godwit.Impair{
		"Impair.Send.Loss":            {Send: godwit.Link{Loss: 5}},
		"Impair.Receive.Corrupt":      {Receive: godwit.Link{Corrupt: -1}},
		"Impair.Send.Delay":           {Send: godwit.Link{Delay: -1}},
		"Impair.Receive.ReorderDelay": {Receive: godwit.Link{ReorderDelay: time.Hour}},
		"Impair.Send.MTU":             {Send: godwit.Link{MTU: 500}},
		"Impair.Send.Rate":            {Send: godwit.Link{Rate: -1}},
	} {
		if _, err := godwit.Listen("127.0.0.1:0", &godwit.Config{Impair: &impair}); err == nil || !strings.Contains(err.Error(), field) {
			t.Errorf("%s: %v", field, err)
		}
	}
}

// A client whose network loses a tenth of all datagrams and takes 30 ms for the others, in each direction.
func ExampleImpair() {
	server, err := godwit.Listen("127.0.0.1:0", &godwit.Config{Handler: echo})
	if err != nil {
		panic(err)
	}
	defer server.Close()
	bad := godwit.Link{Delay: 30 * time.Millisecond, Loss: 0.1}
	c, err := godwit.Dial(context.Background(), server.Addr().String(), &godwit.Config{Impair: &godwit.Impair{Send: bad, Receive: bad}})
	if err != nil {
		panic(err)
	}
	defer c.Close()
	began := time.Now()
	if err := c.Send(godwit.OrderedChannel, []byte("through the storm")); err != nil {
		panic(err)
	}
	m, err := c.Receive(context.Background(), nil)
	fmt.Printf("%s, %v; at least 60 ms: %v\n", m.Payload, err, time.Since(began) >= 60*time.Millisecond)
	// Output: through the storm, <nil>; at least 60 ms: true
}
