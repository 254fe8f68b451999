package godwittest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"godwit.example/godwit"
	"godwit.example/godwit/godwittest"
)

func TestStreamsSurviveABadLink(t *testing.T) {
	for seed := range uint64(10) {
		godwittest.Run(t, seed, badLink, func(t testing.TB, n *godwittest.Net) {
			server := n.Listen(nil)
			c := n.Dial(server, nil)
			ctx := context.Background()
			s, err := server.Accept(ctx)
			if err != nil {
				t.Fatal(err)
			}
			out, err := c.Stream(ctx)
			if err != nil {
				t.Fatal(err)
			}
			in, err := s.AcceptStream(ctx)
			if err != nil {
				t.Fatal(err)
			}
			want := bytes.Repeat([]byte("0123456789"), 2000)
			got := make([]byte, len(want))
			for range 5 {
				if _, err := out.Write(want); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(in, got); err != nil || !bytes.Equal(got, want) {
					t.Fatalf("seed %d: %v", seed, err)
				}
			}
			if err := out.(*godwit.Stream).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if k, err := in.Read(got); k != 0 || err != io.EOF {
				t.Fatalf("seed %d: %d bytes, %v", seed, k, err)
			}
			if err := in.(*godwit.Stream).Reset(7); err != nil {
				t.Fatal(err)
			}
			var reset *godwit.StreamError
			if _, err := out.Read(got); !errors.As(err, &reset) || reset.Code != 7 {
				t.Fatalf("seed %d: %v", seed, err)
			}
			out.Close()
		})
	}
}

func TestDeadlinesPassInVirtualTime(t *testing.T) {
	godwittest.Run(t, 1, godwittest.Link{Delay: time.Millisecond}, func(t testing.TB, n *godwittest.Net) {
		server := n.Listen(nil)
		c := n.Dial(server, nil)
		s, err := c.Stream(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		started := n.Now()
		if err := s.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal(err)
		}
		if d := n.Now() - started; d < 900*time.Millisecond {
			t.Errorf("the deadline passed after %v", d)
		}
	})
}
