package godwit

import "time"

// Handler is what an application does about its connections. Every field may be nil. The functions of one shard are called
// one at a time on the shard's goroutine and must return soon: while one runs, all connections of the shard wait.
// A call that takes longer than a millisecond is counted in Stats, and who makes such calls is named in a warning to Config.Logger.
//
// A panic in a function of a Handler ends the process, as it would in any goroutine, unless Config.Panic is set.
type Handler struct {
	// Open is called when a connection's handshake is complete and before its first message. An error closes the
	// connection: a *CloseError chooses the application's code and the reason that the peer sees; of any other the peer sees the transport
	// code POLICY (0x6708) and the text. It sees that after its Dial has succeeded, because its handshake is complete by then; here, Close is
	// called for it too. An endpoint without Open and Message hands its
	// connections to Endpoint.Accept.
	Open func(Conn) error
	// Message is called for each message. The payload is borrowed until it returns. Without it, messages are kept for
	// Conn.Receive.
	Message func(Conn, Message)
	// Gap is called when the peer gave up up to n reliable messages of an ordered or unordered channel because their time to live ran out.
	Gap func(c Conn, ch Channel, n int)
	// Writable is called once after a send was refused with ErrWouldBlock, when half of the send buffer is free.
	Writable func(Conn)
	// Outcome is called once for each message that was sent with a Tag.
	Outcome func(c Conn, tag uint64, o Outcome)
	// Tick is called on each shard every Config.TickInterval.
	Tick func(s *Shard, now time.Time)
	// Close is called once for each connection that was opened, after its last message. The error is the one that Conn.Err
	// returns.
	Close func(Conn, error)

	workers int // of Async
}
