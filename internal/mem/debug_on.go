//go:build godwitdebug

package mem

// genBits is how many bits of a Ref tell the uses of one block apart. With
// four, a stale Ref is caught until its block was taken sixteen times more.
const genBits = 4

// poisonByte fills released memory: as a length it is implausible, as a
// varint it is eight bytes long, and as text it shows.
const poisonByte = 0xdb

// pageDebug is what a debug build knows about each block of a page.
type pageDebug struct {
	generation [blockMask + 1]uint8
	poisoned   [(blockMask + 1) / 64]uint64
}

// taken checks that nobody wrote to the block since it was released, and
// returns its generation as the bits of a Ref.
func (pg *page) taken(block uint32, b []byte) uint32 {
	w, bit := block>>6, uint64(1)<<(block&63)
	if pg.poisoned[w]&bit != 0 {
		for _, v := range b {
			if v != poisonByte {
				panic("BUG: mem: a block was written to after its release")
			}
		}
		pg.poisoned[w] &^= bit
	}
	return uint32(pg.generation[block]) << blockBits
}

func (pg *page) released(block uint32, b []byte) {
	poison(b)
	pg.poisoned[block>>6] |= 1 << (block & 63)
	pg.generation[block] = (pg.generation[block] + 1) & (1<<genBits - 1)
}

// assigned forgets the poison: the page's memory may have been given back.
func (pg *page) assigned() { pg.poisoned = [len(pg.poisoned)]uint64{} }

// checkLive panics unless r names the present use of its block.
func (pg *page) checkLive(r Ref) {
	block := uint32(r) & blockMask
	generation := uint8(r>>blockBits) & (1<<genBits - 1)
	if r == 0 || block >= uint32(pg.blocks) || pg.free[block>>6]>>(block&63)&1 != 0 || pg.generation[block] != generation {
		panic("BUG: mem: a block was used after its release")
	}
}

// poison makes the content of released memory useless.
func poison(b []byte) {
	for i := range b {
		b[i] = poisonByte
	}
}
