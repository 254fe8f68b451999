package proto

import "godwit.example/godwit/internal/mark"

// Coverage marks of the paths that traffic rarely takes, beside those of channels. Builds tagged godwitdebug count them, and
// TestHistoriesReachEveryRarePath shows that they are taken.
var (
	markProbe         = mark.Register("proto: PTO probe")
	markEagerCap      = mark.Register("proto: back-off held at its cap")
	markDeadlock      = mark.Register("proto: anti-deadlock probe of a client")
	markSpurious      = mark.Register("proto: a packet declared lost had only been late")
	markPersistent    = mark.Register("proto: persistent congestion")
	markBlackHole     = mark.Register("proto: MTU black hole")
	markSilence       = mark.Register("proto: smaller packets after silence")
	markPathValidated = mark.Register("proto: path validated")
	markPathReturned  = mark.Register("proto: path returned")
	markRanges        = mark.Register("proto: a received range was dropped for a newer one")
	markWithheld      = mark.Register("proto: an ACK was withheld from a peer that acknowledges nothing")
	markAckPing       = mark.Register("proto: PING in a run of ACKs")
	markCryptoGap     = mark.Register("proto: CRYPTO out of order")
	markRetry         = mark.Register("proto: Retry followed")
	markAmplification = mark.Register("proto: stopped by the anti-amplification limit")
	markIDs           = mark.Register("proto: the window of IDs stalled a channel")
	markGap           = mark.Register("proto: a gap was delivered")
)
