// Package shard is the engine: it drives the connections of one set of sockets through duty cycles on one goroutine.
//
// A cycle is one call of Shard.Step. It receives batches of datagrams, routes each to its connection, opens and parses
// its packets, hands messages to the application inline, takes what the application sent from the mailbox, builds and
// seals packets for every connection that was touched, sends them, and sets one timer a connection. Shard.Run is the loop of the
// operating system around it: it reads the clock once a cycle and sleeps in the socket until the next deadline. A simulation
// calls Step itself.
//
// Handshakes leave the shard: a Session (TLS) runs on bounded workers and its results come back through a list. What
// unauthenticated datagrams may cost is bounded by the half-open table (halfopen.go).
//
// Other goroutines reach a shard in three ways only: the mailbox (Send, Close and the like), the Slots, which are
// pointer-free records of atomics, and Do, which runs a function between two cycles.
package shard
