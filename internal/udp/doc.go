// Package udp holds godwit's sockets and nothing else: it moves batches of
// datagrams between the kernel and the shard, and knows no connection, no
// packet and no timer.
//
// # Words, smallest to largest
//
//   - A segment is one UDP payload as it crosses the wire.
//   - An entry ([Datagram] on the way in, [Out] on the way out) is one or more
//     segments of equal size that lie side by side, the last may be shorter;
//     the kernel takes or gives a whole entry at once (GSO, GRO). All segments
//     of an entry share addresses and ECN bits.
//   - A batch ([ReadBatch], [WriteBatch]) is what one call of Read or Write
//     moves: many entries, few system calls.
//
// # Engines
//
// Three concrete types have the same methods, so that the shard may declare
// the interface it needs: [Engine] (on Linux the batched one, elsewhere the
// same as Portable), [Portable] (net.UDPConn, on every system) and
// [MemEndpoint] (a network in memory and in virtual time, for tests).
// An engine serves one shard: either one bound server socket, or one
// unconnected socket that a client shares between its connections, or many
// connected client sockets. A proxy has the last and a bound one beside them.
//
// One goroutine at a time may use an engine. Wake alone may be called by any
// goroutine at any time.
package udp
