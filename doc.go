// Package godwit is a reliable-UDP transport: encrypted messages with a delivery guarantee chosen per channel, many
// thousands of connections on few cores, one goroutine per shard instead of one per connection.
//
// A server is one call:
//
//	err := godwit.Serve(ctx, ":4242", godwit.Handler{
//		Message: func(c godwit.Conn, m godwit.Message) { c.Send(m.Channel, m.Payload) },
//	}, nil)
//
// and so is a client:
//
//	c, err := godwit.Dial(ctx, "localhost:4242", nil)
//
// # Channels
//
// Every message travels on a numbered channel, and the channel's Mode says what is promised for it. Channels 0 to 4 are
// ordered, unordered, latest, sequenced and unreliable; all others are ordered. A lost packet holds up only messages of its own
// ordered channel. Config.Channels changes modes, priorities and weights, and both ends must agree: a difference ends the handshake
// with an error that names the channel.
//
// # Handlers
//
// The functions of a Handler run on the shard's own goroutine, one at a time for all connections of the shard, so
// they must not block; they may call every method of Conn except those that take a context. Functions of different shards run at the
// same time. Async runs them on goroutines that may block. An application that prefers a goroutine for each connection leaves
// Handler.Open and Handler.Message nil and uses Endpoint.Accept and Conn.Receive.
//
// # Buffers
//
// Sends copy their payload before they return. A handler borrows Message.Payload until it returns; Message.Retain copies it for
// longer use. Conn.Receive copies into the buffer it is given. A Conn is a small comparable value that keeps nothing alive.
//
// # Back-pressure
//
// A send never blocks. A reliable one that found no room returns ErrWouldBlock, and Handler.Writable is called once half of the
// connection's send buffer is free again; Conn.SendWait waits for that. An unreliable one pushes out the oldest that has not
// left yet. Who receives slowly holds back its own peer and nobody else.
//
// # Identity
//
// Connections are encrypted with TLS 1.3 keys. A server without certificates makes a development identity, which clients of the same user trust
// on loopback addresses; elsewhere they need its Pin, in Config.Pins or in an address of the form godwit://host:port?pin=…, or a server
// with a certificate they trust. Config.Plain, at both ends, replaces encryption by a checksum.
//
// # The end
//
// Conn.Close delivers what was sent and Conn.CloseWithError ends at once; Conn.Done and Conn.Err say when and why a connection ended.
// Endpoint.Shutdown does it for all connections, and so does Serve when its context ends. A connection goes on when its client's
// address changes. It does not come back by itself when it has ended.
//
// Errors of a connection that is gone are net.ErrClosed by errors.Is; *CloseError and *IdleTimeoutError say more. Dial returns
// *HandshakeError or ErrBusy.
//
// # More
//
// Package godwittest runs endpoints on a simulated network in virtual time, package load is the load generator. docs/GUIDE.md explains what to
// choose and what usually goes wrong, docs/TROUBLESHOOTING.md each error.
package godwit
