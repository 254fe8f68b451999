//go:build enet && cgo && linux

package peer

// #include "enet.h"
import "C"

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"

	"godwit.example/godwit/bench/internal/room"
)

// serveENetRoom is the server of a room in C: states are unreliable packets, which
// ENet sequences, on a channel of their own, and what is relayed is made once for all.
func serveENetRoom(ctx context.Context, app room.App, ready func(netip.AddrPort, string)) error {
	s, addr, done, err := openENet(ctx, enetRoomChannels)
	if err != nil {
		return err
	}
	defer done()
	text := C.CBytes(room.Text())
	defer C.free(text)
	r := C.room{state: C.uint32_t(app.State), tick: C.int64_t(app.Tick), text: (*C.uint8_t)(text)}
	ready(addr, "")
	if C.server_room(s, &r) != 0 {
		return errors.New("the ENet server failed")
	}
	return nil
}

const enetRoomChannels = 2 // what is reliable, and states

// enetMembers is the members' end.
type enetMembers struct{ *enetClient }

func (t enetMembers) Drive(ctx context.Context, m *room.Members) error { return t.drive(ctx, m) }

// Send marks a state in the length that C reads.
func (t enetMembers) Send(member int, kind room.Kind, p []byte) bool {
	n := uint32(len(p))
	if kind == room.State {
		n |= C.UNRELIABLE
	}
	t.out = binary.NativeEndian.AppendUint32(t.out, uint32(member))
	t.out = binary.NativeEndian.AppendUint32(t.out, n)
	t.out = append(t.out, p...)
	return true
}
