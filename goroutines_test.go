package godwit_test

import (
	"runtime"
	"testing"
	"time"

	"godwit.example/godwit"
)

func TestGoroutinesDoNotGrowWithConnections(t *testing.T) {
	e := listen(t, godwit.Config{Handler: echo, Shards: 2})
	received := make(chan struct{}, 1)
	cfg := godwit.Config{Handler: godwit.Handler{Message: func(godwit.Conn, godwit.Message) { received <- struct{}{} }}}
	grow := func(n int) {
		t.Helper()
		for range n {
			if err := dial(t, e, cfg).Send(0, []byte("echo this")); err != nil {
				t.Fatal(err)
			}
			<-received
		}
	}
	grow(20)
	time.Sleep(50 * time.Millisecond) // workers of handshakes go when there is nothing to do
	few := runtime.NumGoroutine()
	grow(300)
	waitFor(t, 5*time.Second, "320 connections need no more goroutines than 20", func() bool { return runtime.NumGoroutine() <= few })
	t.Logf("%d goroutines with 20 connections at both ends, %d with 320", few, runtime.NumGoroutine())
}

// waitFor waits until something holds.
func waitFor(t testing.TB, patience time.Duration, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Errorf("after %v it does not hold that %s", patience, what)
			return
		}
	}
}
