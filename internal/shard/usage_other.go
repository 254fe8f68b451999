//go:build !linux

package shard

// threadUsage knows nothing here, and every delay of a handler counts as its own.
func threadUsage() usage { return usage{} }
