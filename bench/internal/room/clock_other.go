//go:build !linux

package room

import "time"

// monotonic is the time of day: two processes have no other clock in common here.
func monotonic() int64 { return time.Now().UnixNano() }
