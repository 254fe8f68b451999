package proto

import (
	"testing"

	"godwit.example/godwit/internal/token"
)

// TestRouterGrowsWithoutMoving binds IDs of slots far apart: what is there already is found as before, and stays where it is.
func TestRouterGrowsWithoutMoving(t *testing.T) {
	const key = 0x1234_5679
	r := NewRouter(key)
	first := token.EncodeID(key, 3, 7, 42, 0)
	if !r.Bind(first) {
		t.Fatal("there is no room for the first ID")
	}
	at := r.of(0)
	for slot := uint32(1000); slot < 1<<20; slot += 1000 {
		id := token.EncodeID(key, 3, 7, uint64(slot), slot)
		if !r.Bind(id) {
			t.Fatalf("there is no room for slot %d", slot)
		}
		if got, _, ok := r.Slot(id.Bytes()); !ok || got != slot {
			t.Fatalf("the ID of slot %d leads to %d, %v", slot, got, ok)
		}
	}
	if got, shard, ok := r.Slot(first.Bytes()); !ok || got != 0 || shard != 3 {
		t.Errorf("the first ID leads to slot %d of shard %d, %v", got, shard, ok)
	}
	if r.of(0) != at {
		t.Error("the first slot's tags were moved")
	}
	beyond := token.EncodeID(key, 3, 7, 42, 1<<22)
	if _, _, ok := r.Slot(beyond.Bytes()); ok {
		t.Error("a slot that was never used is found")
	}
	r.Unbind(beyond) // nothing happens
	r.Clear(1 << 22)
	r.Unbind(first)
	if _, _, ok := r.Slot(first.Bytes()); ok {
		t.Error("an ID that was withdrawn is found")
	}
}
