package command

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"godwit.example/godwit"
	"godwit.example/godwit/gateway/internal/app"
)

// The relay as a program: two clients in a room, its figures on /varz, and a banner without a command that would need an echo.
func TestServeRelay(t *testing.T) {
	s := serve(t, "--app", "relay", "--json")
	b := s.banner(t)
	if text := s.errOut.String(); !strings.Contains(text, "application relay") || strings.Contains(text, "bench") {
		t.Errorf("banner:\n%s", text)
	}
	var conns []godwit.Conn
	for range 2 {
		c, err := godwit.Dial(t.Context(), "godwit://"+b.Listen+"?pin="+url.QueryEscape(b.Pin), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			c.Close()
			<-c.Done()
		}()
		if err := c.Send(godwit.OrderedChannel, []byte("\x01room")); err != nil {
			t.Fatal(err)
		}
		if m, err := c.Receive(t.Context(), nil); err != nil || string(m.Payload) != "\x01room" {
			t.Fatalf("%q, %v", m.Payload, err)
		}
		conns = append(conns, c)
	}
	if err := conns[0].Send(godwit.UnorderedChannel, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if m, err := conns[1].Receive(t.Context(), nil); err != nil || m.Channel != godwit.UnorderedChannel || string(m.Payload) != "hello" {
		t.Fatalf("%q on channel %d, %v", m.Payload, m.Channel, err)
	}
	var page struct {
		App         string         `json:"app"`
		Application app.RelayStats `json:"application"`
	}
	if err := json.Unmarshal(readVarz(t, b), &page); err != nil {
		t.Fatal(err)
	}
	if st := page.Application; page.App != "relay" || st.Rooms != 1 || st.Members != 2 || st.Joined != 2 || st.Relayed != 1 {
		t.Errorf("/varz of %s has %+v", page.App, st)
	}
}
