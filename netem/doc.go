// Package netem is a bad network between real UDP sockets: a proxy in user space that delays, loses, reorders, duplicates and corrupts
// datagrams, and lets them wait for a bottleneck, in each direction in its own way. It needs no privileges, knows nothing of what the
// datagrams mean, and so treats every protocol over UDP alike.
//
//	p, err := netem.Listen(netem.Config{
//		Target: "127.0.0.1:4242",
//		Up:     netem.Link{Delay: 10 * time.Millisecond, Loss: 0.01},
//		Down:   netem.Link{Delay: 10 * time.Millisecond, Loss: 0.01},
//	})
//
// Clients send to p.Addr() instead of the server. The server sees each client as an address of its own: the proxy's socket for it.
// The command godwit netem does the same.
//
// # Decisions and times
//
// What befalls a datagram follows from Config.Seed, the direction's Link and the number of the datagram in its direction: the same datagrams
// are lost in each run, whatever is in them and whenever they come. With several clients that is the order in which their datagrams
// arrive. The bottleneck's queue depends on times, and so does what it drops.
//
// A datagram is sent when its time has come, or later: sleeps end late, other programs run, a socket is full. How late is in LinkStats. A
// measurement through a proxy that was late by more than what it is to show is worth nothing, and one whose KernelDrops grew has lost
// datagrams that nobody drew. The time begins when the proxy reads a datagram from its socket: what waits there while the proxy does
// not run is not seen.
//
// # Trains
//
// Datagrams that one system call of a sender made (segmentation offload) and that nothing has parted, no loss, jitter or rate, are sent on by
// one call too. All decisions are those of single datagrams. Config.DisableOffload takes even those one by one.
//
// # Bounds
//
// One goroutine does everything; elsewhere than on Linux, one more for each socket. Memory is bounded by Config.Buffer for the datagrams
// under way, about half as much for their records, 4.5 MiB to receive, and 200 bytes and a socket for each of Config.MaxFlows clients. What does not
// fit is dropped and counted.
//
// TCP is not carried: a proxy ends both connections itself, so the loss on one side would never be seen by the other.
package netem
