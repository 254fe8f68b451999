package proto

import "math/bits"

// keyTable is a hash table from keys of messages to small values: open addressing, linear probing, no tombstones. The hash
// is keyed, because the peer chooses the keys. The zero value is empty and holds no memory.
type keyTable[V any] struct {
	slots []keySlot[V]
	n     int
}

type keySlot[V any] struct {
	key   uint64 // key + 1; 0 = free
	value V
}

// hashKey mixes a key with the shard's secret.
func hashKey(secret, key uint64) uint64 {
	hi, lo := bits.Mul64(key^secret, 0x9e3779b97f4a7c15^bits.RotateLeft64(secret, 32)|1)
	return hi ^ lo
}

// find returns the slot of a key, or the free one where it would be.
func (t *keyTable[V]) find(secret, key uint64) int {
	mask := len(t.slots) - 1
	i := int(hashKey(secret, key)) & mask
	for t.slots[i].key != 0 && t.slots[i].key != key+1 {
		i = (i + 1) & mask
	}
	return i
}

// get returns a key's value, or nil. The pointer is valid until the next put or remove.
func (t *keyTable[V]) get(secret, key uint64) *V {
	if t.n == 0 {
		return nil
	}
	if s := &t.slots[t.find(secret, key)]; s.key != 0 {
		return &s.value
	}
	return nil
}

// put returns a key's value, which it enters as zero if there is none.
func (t *keyTable[V]) put(secret, key uint64) *V {
	if 2*(t.n+1) > len(t.slots) {
		t.grow(secret)
	}
	s := &t.slots[t.find(secret, key)]
	if s.key == 0 {
		s.key = key + 1
		t.n++
	}
	return &s.value
}

// remove forgets a key and closes the gap, so that searches need no tombstones.
func (t *keyTable[V]) remove(secret, key uint64) {
	if t.n == 0 {
		return
	}
	i := t.find(secret, key)
	if t.slots[i].key == 0 {
		return
	}
	t.n--
	mask := len(t.slots) - 1
	for j := (i + 1) & mask; t.slots[j].key != 0; j = (j + 1) & mask {
		home := int(hashKey(secret, t.slots[j].key-1)) & mask
		if (j-home)&mask >= (j-i)&mask {
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i] = keySlot[V]{}
}

// keptSlots is up to how many slots a table keeps when it is cleared.
const keptSlots = 64

// clear forgets all keys.
func (t *keyTable[V]) clear() {
	if t.n == 0 {
		return
	}
	t.n = 0
	if len(t.slots) > keptSlots {
		t.slots = nil
		return
	}
	clear(t.slots)
}

func (t *keyTable[V]) grow(secret uint64) {
	old := t.slots
	t.slots = make([]keySlot[V], max(8, 2*len(old)))
	for i := range old {
		if old[i].key != 0 {
			t.slots[t.find(secret, old[i].key-1)] = old[i]
		}
	}
}
