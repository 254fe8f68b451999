//go:build !linux

package shard

import (
	"time"

	"godwit.example/godwit/internal/mono"
)

// threadTime is the clock where the time of a thread cannot be read.
func threadTime() time.Duration { return time.Duration(mono.Now()) }
