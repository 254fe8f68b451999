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
// ordered, unordered, latest, sequenced and unreliable; all others are ordered. Config.Channels changes that, and both
// ends must agree: a difference ends the handshake with an error that names the channel.
//
// # Handlers
//
// The functions of a Handler run on the shard's own goroutine, one at a time for all connections of the shard, so
// they must not block; they may call every method of Conn except those that take a context. An application that prefers
// goroutines leaves Handler.Open and Handler.Message nil and uses Endpoint.Accept and Conn.Receive.
//
// # Errors
//
// Errors of a connection that is gone are net.ErrClosed by errors.Is. A send that found no room returns ErrWouldBlock,
// and Handler.Writable is called once half of the connection's send buffer is free again.
package godwit
