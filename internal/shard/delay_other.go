//go:build !linux

package shard

// threadDelay knows nothing here.
func threadDelay() delay { return delay{} }
