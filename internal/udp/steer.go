package udp

// steerMask selects the virtual shard from the first byte of a server's
// connection ID.
const steerMask = 0x1f

// ShardOf tells which of n shards a datagram belongs to: the one that the
// connection ID of a short header names. ok is false for a long header, whose
// connection ID the client chose; there the host's hash of the four addresses
// decides. The steering program computes the same in the kernel; a shard uses
// this to forward what reached it all the same.
func ShardOf(datagram []byte, n int) (shard int, ok bool) {
	if len(datagram) < 2 || n < 1 || datagram[0]&0xc0 != 0x40 {
		return 0, false
	}
	return int(datagram[1]&steerMask) % n, true
}
