//go:build race || purego || godwitdebug

package shard

const exactAllocations = false
