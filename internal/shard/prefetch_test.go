package shard

import (
	"testing"

	"godwit.example/godwit/internal/udp"
	"godwit.example/godwit/internal/wire"
)

func TestWhereAnEntryGoesIsSeenAhead(t *testing.T) {
	w := newWorld(t, 1, nil)
	w.connect()
	id := w.server.newID(0, 4711)
	if !w.server.router.Bind(id) {
		t.Fatal("no room for an ID")
	}
	known := append([]byte{wire.FixedBit}, id.Bytes()...)
	if slot, ok := w.server.destination(&udp.Datagram{Data: known}); slot != 0 || !ok {
		t.Errorf("the connection of slot 0 is sought in slot %d, %v", slot, ok)
	}
	var batch []udp.Datagram
	for n := range known {
		batch = append(batch, udp.Datagram{Data: known[:n]})
	}
	long := append([]byte{wire.FixedBit | 0x80}, known...)
	forged := append([]byte(nil), known...)
	forged[len(forged)-1] ^= 1
	for _, b := range [][]byte{long, forged, {0}, {0xff}} {
		batch = append(batch, udp.Datagram{Data: b})
	}
	for i := range batch {
		if slot, ok := w.server.destination(&batch[i]); ok {
			t.Errorf("%x is sought in slot %d", batch[i].Data, slot)
		}
		w.server.prefetchEntries(batch[i:])
	}
	batch = append(batch[:0], udp.Datagram{}, udp.Datagram{Data: known}, udp.Datagram{Data: known})
	w.server.prefetchEntries(batch)
	w.server.router.Unbind(id)
	w.over()
}
