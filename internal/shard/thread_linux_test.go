package shard

import "time"

// threadTime is the processor time of the thread, which others on the machine do not distort as much as they do the clock.
func threadTime() time.Duration { return threadUsage().cpu }
