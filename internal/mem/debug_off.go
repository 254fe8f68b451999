//go:build !godwitdebug

package mem

// genBits is 0: releases spend no bits of a Ref on a generation.
const genBits = 0

//lint:ignore U1000 the fields exist in debug builds
type pageDebug struct{}

func (*page) taken(block uint32, b []byte) uint32 { return 0 }
func (*page) released(block uint32, b []byte)     {}
func (*page) assigned()                           {}
func (*page) checkLive(r Ref)                     {}
func poison(b []byte)                             {}
