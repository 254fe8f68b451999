//go:build enet && cgo && linux

package peer

// #include "enet.h"
import "C"

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"runtime"

	"godwit.example/godwit/bench/internal/room"
)

// serveENetRoom is the server of a room in C: states are unreliable packets, which
// ENet sequences, on a channel of their own, and what is relayed is made once for all.
func serveENetRoom(ctx context.Context, app room.App, ready func(netip.AddrPort, string)) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var port C.uint16_t
	s := C.server_open(enetAddress(listen.Addr()), &port, enetRoomChannels)
	if s == nil {
		return errors.New("no ENet host can be made")
	}
	defer C.server_close(s)
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		C.server_stop(s)
		close(stopped)
	})
	defer func() {
		if !stop() {
			<-stopped
		}
	}()
	text := C.CBytes(room.Text())
	defer C.free(text)
	r := C.room{state: C.uint32_t(app.State), tick: C.int64_t(app.Tick), text: (*C.uint8_t)(text)}
	ready(netip.AddrPortFrom(listen.Addr(), uint16(port)), "")
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
