//go:build godwitdebug

package mark

// Enabled tells whether marks are counted.
const Enabled = true

// gate serialises the counters. It is a channel because pure rooms place
// marks, and what they reach may not import the sync packages; the price,
// some tens of nanoseconds a hit, is paid by debug builds alone.
var (
	gate   = make(chan struct{}, 1)
	counts [Max]uint64
)

// Register enters a mark in Names. It may be called only while packages
// initialise, and panics if the name is taken or the table is full.
func Register(name string) ID {
	if len(Names) == Max {
		panic("BUG: too many coverage marks")
	}
	for _, taken := range Names {
		if taken == name {
			panic("BUG: coverage mark registered twice: " + name)
		}
	}
	Names = append(Names, name)
	return ID(len(Names) - 1)
}

// Hit counts one passage of the mark. It may be called from any goroutine.
func Hit(id ID) {
	gate <- struct{}{}
	counts[id]++
	<-gate
}

// Count returns how often the mark was hit since the process began.
func Count(id ID) uint64 {
	gate <- struct{}{}
	n := counts[id]
	<-gate
	return n
}
