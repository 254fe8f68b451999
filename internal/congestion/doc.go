// Package congestion decides how much a connection may have in flight and how
// fast it may send: the round-trip estimator, the controllers and the pacer.
//
// The room is pure numbers. Nothing here reads a clock, holds a pointer or
// allocates; every type is a value struct that its connection embeds, copies
// and packs. None of them is safe for concurrent use: the connection that owns
// them is.
//
// The calls come in the order in which a connection learns things. When an ACK
// frame arrives, the caller first gives the RTT estimator its sample, then
// calls Controller.OnAck once for the whole frame, then Controller.OnLoss once
// if the frame led to packets being declared lost. Before a train of datagrams
// leaves, the caller asks Pacer.Ready; afterwards it reports the train with
// Controller.OnSent and Pacer.Sent.
//
// All amounts are bytes of datagrams. Counting packets would let a sender of
// small messages grow its window by what it never carried.
package congestion
