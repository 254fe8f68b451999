//go:build godwitdebug

package invariant

// Enabled tells whether Check checks. Guard with it what costs more than a
// comparison to compute: a call's arguments are evaluated in every build.
const Enabled = true

// Check panics with "BUG: " and msg unless ok.
func Check(ok bool, msg string) {
	if !ok {
		panic("BUG: " + msg)
	}
}
