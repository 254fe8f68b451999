//go:build !linux

package peer

import "time"

const longestPause = 10 * time.Millisecond

// pauser pauses by Go's timers: an open loop's lateness will say that they are not
// precise enough.
func pauser() (pause func(time.Duration), done func()) { return time.Sleep, func() {} }
