//go:build enet && cgo && linux

package peer

// #cgo CFLAGS: -O2
// #cgo LDFLAGS: -lenet
// #include "enet.h"
import "C"

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"time"
	"unsafe"

	"godwit.example/godwit"
	"godwit.example/godwit/bench/internal/room"
	"godwit.example/godwit/load"
)

// enetMostPeers is ENET_PROTOCOL_MAXIMUM_PEER_ID.
const enetMostPeers = 4095

func init() {
	register(&Peer{
		Name: "enet", About: "ENet 1.3 of the system, in C on one thread a side: reliable packets on one channel; not encrypted, no checksum, no compression, as by default; " +
			"pings off, the server's socket buffers 4 MiB and its table of peers as long as the connections need; a message is answered in C, a receipt in Go",
		Mode: godwit.Ordered, Handshake: true, MaxConnections: enetMostPeers,
		Serve:     serveENet,
		Room:      serveENetRoom,
		Transport: func(addr netip.AddrPort, _ string) load.Transport { return &enetClient{addr: addr, channels: 1} },
		Members: func(_ *room.Load, addr netip.AddrPort, _ string) room.Transport {
			return enetMembers{&enetClient{addr: addr, channels: enetRoomChannels}}
		},
	})
}

func serveENet(ctx context.Context, answer Answer, ready func(netip.AddrPort, string)) error {
	s, addr, done, err := openENet(ctx, 1)
	if err != nil {
		return err
	}
	defer done()
	ready(addr, "")
	var (
		event C.ENetEvent
		out   []byte
		echo  = C.int(0)
	)
	if probe := make([]byte, 64); bytes.Equal(answer(nil, probe), probe) {
		echo = 1
	}
	for {
		switch C.server_next(s, echo, &event) {
		case 0:
			return nil
		case 1:
			out = answer(out[:0], unsafe.Slice((*byte)(event.packet.data), event.packet.dataLength))
			failed := C.server_answer(event.peer, unsafe.Pointer(unsafe.SliceData(out)), C.size_t(len(out)))
			C.enet_packet_destroy(event.packet)
			if failed != 0 {
				return errors.New("ENet has no memory for an answer")
			}
		default:
			return errors.New("the ENet server failed")
		}
	}
}

// openENet opens a server, which stops when ctx ends, and takes the thread for it. done undoes that.
func openENet(ctx context.Context, channels C.int) (s *C.server, addr netip.AddrPort, done func(), err error) {
	runtime.LockOSThread()
	var port C.uint16_t
	if s = C.server_open(enetAddress(listen.Addr()), &port, channels); s == nil {
		runtime.UnlockOSThread()
		return nil, addr, nil, errors.New("no ENet host can be made")
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		C.server_stop(s)
		close(stopped)
	})
	return s, netip.AddrPortFrom(listen.Addr(), uint16(port)), func() {
		if !stop() {
			<-stopped // it uses the server
		}
		C.server_close(s)
		runtime.UnlockOSThread()
	}, nil
}

// enetAddress is an address in network order.
func enetAddress(a netip.Addr) C.uint32_t {
	ip := a.As4()
	return C.uint32_t(binary.NativeEndian.Uint32(ip[:]))
}

// enetClient has a host for each connection, because a host is a socket, and one
// thread that serves them all.
type enetClient struct {
	addr     netip.AddrPort
	channels C.int
	c        *C.client

	out     []byte // connection and size, 4 bytes each, and the message, again and again
	waiting []int  // messages of each connection that have not been answered
}

const (
	enetHeader = 8
	// enetMostWaiting bounds the bytes that wait for one connection, unless they are a single message.
	enetMostWaiting = 4 << 20
)

func (t *enetClient) Connect(ctx context.Context, connections int) error {
	t.waiting = make([]int, connections)
	if t.c = C.client_new(C.int(connections), t.channels); t.c == nil {
		return errors.New("no memory for ENet hosts")
	}
	host := enetAddress(t.addr.Addr())
	for int(t.c.connected) < connections {
		for int(t.c.opened) < connections && t.c.opened-t.c.connected < dialsAtOnce {
			if C.client_open(t.c, host, C.uint16_t(t.addr.Port())) != 0 {
				return fmt.Errorf("connection %d: no ENet host can be made", t.c.opened)
			}
		}
		if _, err := t.turn(ctx, longestPause); err != nil {
			return err
		}
	}
	return nil
}

// turn sends, waits, and returns what came.
func (t *enetClient) turn(ctx context.Context, wait time.Duration) (in []byte, err error) {
	failed := C.client_turn(t.c, (*C.uint8_t)(unsafe.SliceData(t.out)), C.size_t(len(t.out)), C.int64_t(min(wait, longestPause)))
	t.out = t.out[:0]
	switch {
	case failed != 0:
		return nil, errors.New("ENet failed")
	case t.c.failed >= 0:
		return nil, fmt.Errorf("connection %d has ended", t.c.failed)
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return unsafe.Slice((*byte)(t.c.in), t.c.size), nil
}

func (t *enetClient) Send(k int, p []byte) bool {
	if t.waiting[k] > 0 && (t.waiting[k]+1)*len(p) > enetMostWaiting {
		return false
	}
	t.waiting[k]++
	t.out = binary.NativeEndian.AppendUint32(t.out, uint32(k))
	t.out = binary.NativeEndian.AppendUint32(t.out, uint32(len(p)))
	t.out = append(t.out, p...)
	return true
}

func (t *enetClient) Drive(ctx context.Context, l *load.Load) error { return t.drive(ctx, l) }

func (t *enetClient) drive(ctx context.Context, l spinner) error {
	_, done := pauser() // for its thread: C waits on time
	defer done()
	for {
		wait, over := l.Turn()
		if over {
			return nil
		}
		if l.Spins(wait) {
			wait = 0
		}
		in, err := t.turn(ctx, wait)
		if err != nil {
			return err
		}
		if len(in) > 0 {
			l.Arrived()
		}
		for len(in) > 0 {
			k, n := binary.NativeEndian.Uint32(in), enetHeader+binary.NativeEndian.Uint32(in[4:])
			t.waiting[k]--
			l.Message(int(k), in[enetHeader:n])
			in = in[n:]
		}
	}
}

func (t *enetClient) Close() { C.client_close(t.c) }
