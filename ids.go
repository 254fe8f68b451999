package godwit

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"godwit.example/godwit/internal/handshake"
	"godwit.example/godwit/internal/shard"
)

// newIDs makes the keys of a server's connection IDs. Those that hide slots and authenticate stateless resets come from the server's
// identity, so that clients of a process that died learn it at once from the next one at the same address (RFC 9000 §10.3.2).
// The address is part of them because two servers that shared these keys without sharing connections would reset each other's clients
// (RFC 9000 §21.11). Retry tokens live ten seconds by the clock of one process; their key is always a new one.
func newIDs(l *limits, identity *handshake.Identity, at netip.AddrPort, shards int) shard.IDs {
	ids := shard.IDs{Server: uint32(l.Tuning.ServerID), Shards: shards}
	purpose := fmt.Sprintf("of server %d at %v: ", l.Tuning.ServerID, at)
	slots, ok := identity.Secret("slots " + purpose)
	if ok {
		ids.ResetKey, ok = identity.Secret("resets " + purpose)
	}
	if !ok || l.Tuning.Simulation != nil {
		slots, ids.ResetKey = l.seed(), l.seed()
	}
	ids.Key = binary.NativeEndian.Uint64(slots[:]) | 1
	ids.RetryKey = l.seed()
	return ids
}
