package shard

import (
	"encoding/binary"
	"testing"

	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/udp"
	"godwit.example/godwit/internal/wire"
)

// FuzzDatagram throws datagrams at a server and a client that share a live connection: nothing may panic, and the connection goes on.
func FuzzDatagram(f *testing.F) {
	initial := make([]byte, 1200)
	initial[0] = wire.LongBit | wire.FixedBit
	binary.BigEndian.PutUint32(initial[1:], wire.Version)
	initial[5] = 8
	f.Add(initial, uint16(0), false)
	f.Add(append([]byte{wire.FixedBit}, make([]byte, 60)...), uint16(0), true)
	f.Add(append([]byte{wire.FixedBit}, make([]byte, 60)...), uint16(20), false)
	f.Add([]byte{0xf0, 0x67, 0x77, 0, 1, 0, 0}, uint16(0), true)
	f.Fuzz(func(t *testing.T, b []byte, segment uint16, toClient bool) {
		if len(b) == 0 {
			return
		}
		w := newWorld(t, 1, nil)
		r := w.connect()
		p := w.client.at(r.Slot)
		target, from := w.server, udp.Addr(p.conn.Path().Remote)
		from.SetPort(999)
		if toClient {
			target, from = w.client, serverAddr
		}
		// As it came, and as if it were for the live connection.
		d := udp.Datagram{Data: append([]byte(nil), b...), Segment: int(segment), Remote: from, Socket: p.socket}
		target.datagram(w.now, &d)
		id := w.server.at(0).conn.LocalID()
		if len(b) > 1+id.Len() {
			d.Data = append([]byte(nil), b...)
			copy(d.Data[1:], id.Bytes())
			w.server.datagram(w.now, &d)
		}
		w.run(mono.Second)
		before := w.sapp.messages
		w.send(w.client, r, "still there?")
		w.run(mono.Second)
		if w.sapp.messages != before+1 {
			t.Error("the connection did not survive")
		}
	})
}
