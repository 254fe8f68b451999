package godwit_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/internal/wire"
)

// Some tests need a process that can be killed. It is this test binary, started again with roleEnv set.
const (
	roleEnv     = "GODWIT_TEST_ROLE" // "server", "client" or "bench"
	addrEnv     = "GODWIT_TEST_ADDR"
	identityEnv = "GODWIT_TEST_IDENTITY"
)

func init() {
	role := os.Getenv(roleEnv)
	if role == "" {
		return
	}
	cfg := &godwit.Config{Identity: os.Getenv(identityEnv)}
	if err := map[string]func(string, *godwit.Config) error{"server": beServer, "client": beClient, "bench": beBenchServer}[role](os.Getenv(addrEnv), cfg); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("ready")
	select {} // until it is killed
}

func beServer(addr string, cfg *godwit.Config) error {
	cfg.Handler = echo
	_, err := godwit.Listen(addr, cfg)
	return err
}

func beClient(addr string, cfg *godwit.Config) error {
	c, err := godwit.Dial(context.Background(), addr, cfg)
	if err != nil {
		return err
	}
	return c.Send(0, []byte("here I am"))
}

// start runs this test binary in a role and returns what kills it, at once and without a word to anybody.
func start(t testing.TB, role, addr, identity string) (kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role, addrEnv+"="+addr, identityEnv+"="+identity)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed, that is its error
	}
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); strings.TrimSpace(line) != "ready" {
		t.Fatalf("the %s says %q, %v", role, line, err)
	}
	return kill
}

// freePort returns an address whose port nobody has at the moment.
func freePort(t testing.TB) string {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().String()
}

func TestKilledClientIsNoticed(t *testing.T) {
	t.Parallel() // it waits, most of the time
	for _, c := range []struct {
		name            string
		idle            time.Duration
		push            bool // the server has something to say to the client all the time
		soonest, latest time.Duration
	}{
		{"in silence", 1500 * time.Millisecond, false, 800 * time.Millisecond, 3 * time.Second},
		{"while it is sent to", 4 * time.Second, true, time.Second, 3500 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			type end struct {
				at  time.Time
				err error
			}
			closed, opened := make(chan end, 1), make(chan godwit.Conn, 1)
			e := listen(t, godwit.Config{IdleTimeout: c.idle, Handler: godwit.Handler{
				Message: func(c godwit.Conn, _ godwit.Message) { opened <- c },
				Close:   func(_ godwit.Conn, err error) { closed <- end{time.Now(), err} },
			}})
			kill := start(t, "client", e.Addr().String(), "")
			conn := <-opened
			select {
			case got := <-closed:
				t.Fatalf("a client that only keeps alive was taken for dead: %v", got.err)
			case <-time.After(2 * c.idle / 3):
			}
			kill()
			killed := time.Now()
			var got end
			for got.err == nil {
				select {
				case got = <-closed:
				case <-time.After(50 * time.Millisecond):
					if c.push {
						_ = conn.Send(0, []byte("are you there?"))
					}
				case <-deadline(t, 20*time.Second).Done():
					t.Fatal("nobody noticed")
				}
			}
			var idle *godwit.IdleTimeoutError
			if !errors.As(got.err, &idle) || !errors.Is(got.err, net.ErrClosed) {
				t.Errorf("the connection ended with %v", got.err)
			}
			if took := got.at.Sub(killed); took < c.soonest || took > c.latest {
				t.Errorf("it was noticed after %v, expected %v to %v", took, c.soonest, c.latest)
			}
			if st := conn.State(); st == godwit.StateOpen {
				t.Errorf("the connection is %v", st)
			}
		})
	}
}

// mustBeReset sends on a connection of a server that was killed and started again, and expects to learn of it at once.
func mustBeReset(t *testing.T, c godwit.Conn, size int) {
	t.Helper()
	sent := time.Now()
	if err := c.Send(0, make([]byte, size)); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	select {
	case <-c.Done():
	case <-time.After(10 * time.Second):
		t.Fatalf("after 10 s the connection is %v", c.State())
	}
	if took := time.Since(sent); took > time.Second {
		t.Errorf("a client that sends %d bytes learned of the restart after %v", size, took)
	}
	var closed *godwit.CloseError
	if err := c.Err(); !errors.As(err, &closed) || !closed.Remote || !closed.Transport || !strings.Contains(err.Error(), "stateless reset") || !errors.Is(err, net.ErrClosed) {
		t.Errorf("it ended with %v", err)
	}
}

func TestRestartedServerResetsItsOldClients(t *testing.T) {
	addr, identity := freePort(t), t.TempDir()
	cfg := godwit.Config{Identity: identity}
	connect := func() godwit.Conn {
		t.Helper()
		c, err := godwit.Dial(deadline(t, 10*time.Second), addr, &cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		exchange(t, c, "before")
		return c
	}
	kill := start(t, "server", addr, identity)
	var old []godwit.Conn
	for range 6 {
		old = append(old, connect())
	}
	shared, err := listen(t, godwit.Config{}).Dial(deadline(t, 10*time.Second), addr, &cfg) // from a socket that others use too
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, shared, "before")
	old = append(old, shared)
	kill()
	_ = old[5].Send(0, []byte("into the void")) // its probes are under way when the server comes back
	kill = start(t, "server", addr, identity)
	fresh := connect()
	for i, size := range []int{0, 1, 100, 1000, 100_000, 8, 10} {
		mustBeReset(t, old[i], size)
	}
	exchange(t, fresh, "the connections of the new server live")

	// One that is silent learns of it by its next sign of life.
	quiet := godwit.Config{Identity: identity, IdleTimeout: 3 * time.Second, KeepAlive: 300 * time.Millisecond}
	cfg = quiet
	silent := connect()
	kill()
	start(t, "server", addr, identity)
	back := time.Now()
	select {
	case <-silent.Done():
	case <-time.After(10 * time.Second):
	}
	if took := time.Since(back); took > 1500*time.Millisecond {
		t.Errorf("a silent client learned of the restart after %v: %v", took, silent.Err())
	}
}

func TestServerOfAnotherIdentityCannotResetConnections(t *testing.T) {
	addr, identity := freePort(t), t.TempDir()
	kill := start(t, "server", addr, identity)
	c, err := godwit.Dial(deadline(t, 10*time.Second), addr, &godwit.Config{Identity: identity})
	if err != nil {
		t.Fatal(err)
	}
	exchange(t, c, "before")
	kill()
	start(t, "server", addr, t.TempDir())
	if err := c.Send(0, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Done():
		t.Errorf("a stranger at the server's address ended the connection: %v", c.Err())
	case <-time.After(500 * time.Millisecond):
	}
	_ = c.CloseWithError(0, "")
}

func TestBothSidesSeeWhyTheOtherClosed(t *testing.T) {
	closed := make(chan error, 1)
	opened := make(chan godwit.Conn, 1)
	e := listen(t, godwit.Config{Handler: godwit.Handler{
		Open:  func(c godwit.Conn) error { opened <- c; return nil },
		Close: func(_ godwit.Conn, err error) { closed <- err },
	}})
	wait := func() error {
		t.Helper()
		select {
		case err := <-closed:
			return err
		case <-time.After(10 * time.Second):
			t.Fatal("the server does not see that the connection ended")
		}
		return nil
	}
	ends := []struct {
		name         string
		end          func(client, server godwit.Conn)
		client, peer godwit.CloseError
	}{
		{
			"the client says why", func(c, _ godwit.Conn) { _ = c.CloseWithError(17, "done here") },
			godwit.CloseError{Code: 17, Reason: "done here"},
			godwit.CloseError{Code: 17, Reason: "done here", Remote: true},
		},
		{
			"the server says why", func(_, s godwit.Conn) { _ = s.CloseWithError(18, "out with you") },
			godwit.CloseError{Code: 18, Reason: "out with you", Remote: true},
			godwit.CloseError{Code: 18, Reason: "out with you"},
		},
		{
			"the client has finished", func(c, _ godwit.Conn) { _ = c.Close() },
			godwit.CloseError{},
			godwit.CloseError{Remote: true},
		},
		{
			"the server stops", func(godwit.Conn, godwit.Conn) { _ = e.Shutdown(deadline(t, 10*time.Second)) },
			godwit.CloseError{Code: uint64(wire.Shutdown), Remote: true, Transport: true},
			godwit.CloseError{Code: uint64(wire.Shutdown), Transport: true},
		},
	}
	for _, want := range ends {
		c := dial(t, e, godwit.Config{})
		want.end(c, <-opened)
		var got *godwit.CloseError
		if err := wait(); !errors.As(err, &got) || *got != want.peer {
			t.Errorf("%s: the server sees %#v, want %#v", want.name, err, want.peer)
		}
		<-c.Done()
		if err := c.Err(); !errors.As(err, &got) || *got != want.client {
			t.Errorf("%s: the client sees %#v, want %#v", want.name, err, want.client)
		}
	}
}
