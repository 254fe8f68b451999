// Package load is the load generator of godwit and its statistics. It drives an
// echo server over real sockets, checks every message that comes back, and
// knows when its own measurement is worth nothing.
//
// # Load
//
// An open loop sends a given number of messages a second in all, one every 1/R
// seconds, going round the connections. Latency counts from the time at which a
// message should have been sent, so that a generator or a send buffer that falls
// behind shows as latency and is not left out. A closed loop keeps a number of
// messages outstanding on each connection and sends the next when one returns.
//
// # Validity
//
// A run is invalid, never slow, if fewer than 99.9 % of the planned messages were
// sent, if the generator sent its 99th percentile more than 100 µs after the
// intended time, or if other programs or the hypervisor took more than 8 % of the
// machine. Result.Reasons says which. What cannot be judged, because the server's
// CPU time or counts are unknown (Config.Varz), is in Result.Notes.
//
// # References
//
// With Config.Reference the same load runs against two plain echo servers in
// processes of their own: UDP with one datagram a message, moved in batches, which
// shows what the machine's kernel costs, and TCP with length-framed messages. A
// program that wants them calls MaybeRunReference first in its main function.
package load
