package wire

// ErrorCode is a transport error code as CLOSE carries it (RFC 9000, section 20.1).
type ErrorCode uint64

// Transport error codes: those of RFC 9000, and godwit's own from 0x6701 on.
const (
	NoError                 ErrorCode = 0x00
	InternalError           ErrorCode = 0x01
	ConnectionRefused       ErrorCode = 0x02
	FlowControlError        ErrorCode = 0x03
	StreamLimitError        ErrorCode = 0x04
	StreamStateError        ErrorCode = 0x05
	FinalSizeError          ErrorCode = 0x06
	FrameEncodingError      ErrorCode = 0x07
	TransportParameterError ErrorCode = 0x08
	ConnectionIDLimitError  ErrorCode = 0x09
	ProtocolViolation       ErrorCode = 0x0a
	InvalidToken            ErrorCode = 0x0b
	ApplicationError        ErrorCode = 0x0c
	CryptoBufferExceeded    ErrorCode = 0x0d
	KeyUpdateError          ErrorCode = 0x0e
	AEADLimitReached        ErrorCode = 0x0f
	NoViablePath            ErrorCode = 0x10

	VersionNegotiationError ErrorCode = 0x11 // RFC 9368, section 10.2

	CryptoError ErrorCode = 0x100 // plus the TLS alert, up to 0x1ff

	ChannelMismatch   ErrorCode = 0x6701 // the two ends configured a channel differently
	MessageTooLarge   ErrorCode = 0x6702 // a message above the announced max_message_size
	ReassemblyError   ErrorCode = 0x6703 // fragments that contradict each other
	PlainModeMismatch ErrorCode = 0x6704 // one end demands the plain mode, the other does not
	MessageLimit      ErrorCode = 0x6705 // a message ID or key outside the window
	ServerBusy        ErrorCode = 0x6706 // no room for this connection now
	Shutdown          ErrorCode = 0x6707 // the endpoint is going away
	Policy            ErrorCode = 0x6708 // identity or quota does not allow this
)

// CryptoAlert returns the error code of a TLS alert (RFC 9001, section 4.8).
func CryptoAlert(alert uint8) ErrorCode { return CryptoError | ErrorCode(alert) }

// Alert returns the TLS alert that the code carries, if it is one.
func (c ErrorCode) Alert() (alert uint8, ok bool) {
	return uint8(c), c>>8 == CryptoError>>8
}

var errorNames = [...]string{
	"NO_ERROR", "INTERNAL_ERROR", "CONNECTION_REFUSED", "FLOW_CONTROL_ERROR", "STREAM_LIMIT_ERROR", "STREAM_STATE_ERROR",
	"FINAL_SIZE_ERROR", "FRAME_ENCODING_ERROR", "TRANSPORT_PARAMETER_ERROR", "CONNECTION_ID_LIMIT_ERROR",
	"PROTOCOL_VIOLATION", "INVALID_TOKEN", "APPLICATION_ERROR", "CRYPTO_BUFFER_EXCEEDED", "KEY_UPDATE_ERROR",
	"AEAD_LIMIT_REACHED", "NO_VIABLE_PATH", "VERSION_NEGOTIATION_ERROR",
}

var ownErrorNames = [...]string{
	"CHANNEL_MISMATCH", "MESSAGE_TOO_LARGE", "REASSEMBLY_ERROR", "PLAIN_MODE_MISMATCH", "MESSAGE_LIMIT", "SERVER_BUSY",
	"SHUTDOWN", "POLICY",
}

// String returns the name that SPEC gives the code, or the number of one it does not know.
func (c ErrorCode) String() string {
	switch {
	case c < ErrorCode(len(errorNames)):
		return errorNames[c]
	case c >= ChannelMismatch && c < ChannelMismatch+ErrorCode(len(ownErrorNames)):
		return ownErrorNames[c-ChannelMismatch]
	case c>>8 == CryptoError>>8:
		return "CRYPTO_ERROR(" + hexadecimal(uint64(c)) + ")"
	}
	return "ERROR(" + hexadecimal(uint64(c)) + ")"
}

// hexadecimal formats v as 0x…; package wire imports no formatter.
func hexadecimal(v uint64) string {
	var buf [18]byte
	i := len(buf)
	for {
		i--
		buf[i] = "0123456789abcdef"[v&15]
		if v >>= 4; v == 0 {
			break
		}
	}
	return "0x" + string(buf[i:])
}
