package godwit

import (
	"time"

	"godwit.example/godwit/internal/proto"
)

// Message is one application message, on its way out or in.
type Message struct {
	// Payload is the message's bytes. A received payload is borrowed: it is valid until the handler returns.
	// Retain copies it for longer use.
	Payload []byte
	// Channel is the channel it travels on.
	Channel Channel
	// Key names the value that a message of a Latest channel carries: a newer message supersedes older ones of the same key.
	// It must be below 2^62. Other modes ignore it.
	Key uint64
	// Tag asks for the message's outcome if it is not zero: Handler.Outcome is called with it once. It is not sent.
	Tag uint64
	// TTL is how long the message is worth sending; zero means for ever. It is not sent.
	TTL time.Duration
}

// Outcome is what became of a message that was sent with a Tag.
type Outcome uint8

// Outcomes of a tagged message.
const (
	Delivered  = Outcome(proto.Delivered)  // the peer's transport has acknowledged it; its application may not have seen it yet
	Expired    = Outcome(proto.Expired)    // its TTL passed first; it may have been delivered all the same
	Superseded = Outcome(proto.Superseded) // a newer message of its key took its place
	Unknown    = Outcome(proto.Unknown)    // the connection ended first
	Refused    = Outcome(proto.Refused)    // of a Group: the connection had no room for the message, or its peer accepts none so large; it was not sent
)

var outcomeNames = [...]string{"none", "delivered", "expired", "superseded", "unknown", "refused"}

// String returns the outcome's name in lower case.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return "invalid"
}
