//go:build !race && !purego && !godwitdebug

package shard

// exactAllocations says that nothing but the shards' own code allocates in this build.
const exactAllocations = true
