package godwit_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"godwit.example/godwit"
)

// A message that could never be sent must say so at once: not be lost, and not be refused for ever as if room were to come.
func TestMessagesThatNeverFitSaySo(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cfg := &godwit.Config{MaxMessageSize: 4 << 20, Handler: godwit.Handler{Message: func(godwit.Conn, godwit.Message) {}}}
	server, err := godwit.Listen("127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	c, err := godwit.Dial(ctx, server.Addr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, tt := range []struct {
		channel godwit.Channel
		size    int
	}{
		{godwit.OrderedChannel, 2 << 20},      // above the send buffer
		{godwit.UnreliableChannel, 100 << 10}, // above what unreliable modes carry
	} {
		var large *godwit.TooLargeError
		if err := c.Send(tt.channel, make([]byte, tt.size)); !errors.As(err, &large) {
			t.Errorf("channel %d, %d bytes: %v", tt.channel, tt.size, err)
		} else if err := c.Send(tt.channel, make([]byte, large.Max)); err != nil {
			t.Errorf("channel %d, the %d bytes that it said would fit: %v", tt.channel, large.Max, err)
		}
	}
}
