package godwit_test

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"godwit.example/godwit"
	"godwit.example/godwit/internal/mem"
	"godwit.example/godwit/internal/protect"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/shard"
	"godwit.example/godwit/internal/udp"
	"godwit.example/godwit/internal/wheel"
	"godwit.example/godwit/internal/wire"
)

// part is a struct that a connection has one or more of. It is found from a type of its package by the names of fields, since it may be
// unexported itself; a pair of brackets is the element of a slice, an array or a pointer.
type part struct {
	from reflect.Type
	path string
	what string
}

// partsOfAConnection are what docs/ARCHITECTURE.md reckons with. The first ones exist for every slot that is or was in use.
var partsOfAConnection = []struct {
	when  string
	parts []part
}{
	{"for every connection that is awake", []part{
		{reflect.TypeFor[shard.Shard](), "sparePeers [] []", "connection, keys and what the shard needs around them"},
		{reflect.TypeFor[shard.Slot](), "", "what other goroutines see of it"},
		{reflect.TypeFor[proto.Router](), "chunks [] [] []", "its connection IDs"},
		{reflect.TypeFor[wheel.Wheel](), "chunks [] [] []", "its deadline"},
	}},
	{"of that, in the first", []part{
		{reflect.TypeFor[proto.Conn](), "", "the protocol"},
		{reflect.TypeFor[protect.Keys](), "", "secrets, phases, replay window"},
	}},
	{"for every channel in use", []part{
		{reflect.TypeFor[proto.Conn](), "msgs chans []", "the record of the channel"},
		{reflect.TypeFor[proto.Conn](), "msgs levels []", "a priority in use"},
		{reflect.TypeFor[proto.Conn](), "msgs chans [] latest []", "keys of a latest channel"},
	}},
	{"for every message or packet", []part{
		{reflect.TypeFor[proto.Conn](), "msgs chans [] queue buf []", "a message on its way out"},
		{reflect.TypeFor[proto.Conn](), "msgs chans [] extras buf []", "its key, tag and TTL, if one of the queue has any"},
		{reflect.TypeFor[proto.Conn](), "msgs frags []", "a message that is sent in fragments"},
		{reflect.TypeFor[proto.Conn](), "msgs chans [] window buf []", "an ID above the receiver's floor"},
		{reflect.TypeFor[proto.Conn](), "msgs reasm []", "a message of which fragments arrived"},
		{reflect.TypeFor[proto.Conn](), "app sent packets buf []", "a packet that is not settled"},
		{reflect.TypeFor[proto.Conn](), "app sent records buf []", "a frame in it"},
		{reflect.TypeFor[proto.Conn](), "app recv ranges []", "a range of received numbers"},
	}},
	{"now and then", []part{
		{reflect.TypeFor[proto.Conn](), "hs []", "the handshake of the protocol, until it is confirmed"},
		{reflect.TypeFor[protect.Keys](), "long [] []", "keys of a handshake level"},
		{reflect.TypeFor[shard.Shard](), "halfOpen entries []", "an entry of the half-open table, without its buffer"},
		{reflect.TypeFor[shard.Shard](), "results [] []", "the session of a handshake, without what TLS holds"},
		{reflect.TypeFor[proto.Conn](), "streams []", "what all byte streams have in common, from the first one on"},
		{reflect.TypeFor[proto.Conn](), "streams [] list [] []", "a byte stream"},
		{reflect.TypeFor[proto.Conn](), "streams [] list [] [] queue buf []", "a write to it that is not acknowledged"},
		{reflect.TypeFor[proto.Conn](), "move []", "a path that is being validated"},
		{reflect.TypeFor[proto.Conn](), "peer spare []", "a spare connection ID of the peer"},
		{reflect.TypeFor[proto.Conn](), "ids issued []", "an own connection ID"},
	}},
	{"on the way", []part{
		{reflect.TypeFor[godwit.Conn](), "", "the application's handle"},
		{reflect.TypeFor[proto.Event](), "", "an event"},
		{reflect.TypeFor[wire.Train](), "", "a train under construction, one a shard"},
		{reflect.TypeFor[udp.Out](), "", "an entry to send"},
		{reflect.TypeFor[udp.Datagram](), "", "an entry received"},
		{reflect.TypeFor[mem.Chunks](), "table []", "a piece of a sender's buffer"},
	}},
}

// fixedBudget bounds what every slot costs before anything is sent.
const fixedBudget = 2560

// find returns the type that the path leads to.
func (p part) find() (reflect.Type, error) {
	t := p.from
	for _, step := range strings.Fields(p.path) {
		if step == "[]" {
			t = t.Elem()
			continue
		}
		f, ok := t.FieldByName(step)
		if !ok {
			return nil, fmt.Errorf("%v has no field %s", t, step)
		}
		t = f.Type
	}
	return t, nil
}

func TestLayoutOfAConnection(t *testing.T) {
	for i, group := range partsOfAConnection {
		var b strings.Builder
		sum := uintptr(0)
		for _, p := range group.parts {
			typ, err := p.find()
			if err != nil {
				t.Fatal(err)
			}
			name, _, _ := strings.Cut(typ.String(), "[")
			if typ.Name() == "" {
				name = typ.String()
			}
			fmt.Fprintf(&b, "  %5d B  %-22s %s\n", typ.Size(), name, p.what)
			sum += typ.Size()
		}
		t.Logf("%s:\n%s", group.when, b.String())
		if i == 0 {
			t.Logf("every slot: %d B", sum)
			if sum > fixedBudget {
				t.Errorf("every slot takes %d B, more than %d", sum, fixedBudget)
			}
		}
	}
}
