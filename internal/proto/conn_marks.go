package proto

import "godwit.example/godwit/internal/mark"

// Coverage marks of the paths that traffic rarely takes. Builds tagged godwitdebug count them, and a test shows that its
// histories reach each.
var (
	markBlackHole    = mark.Register("proto: MTU black hole")
	markPathReturned = mark.Register("proto: path returned")
)
