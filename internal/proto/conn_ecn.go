package proto

import (
	"godwit.example/godwit/internal/mono"
	"godwit.example/godwit/internal/wire"
)

// ecnState marks packets with ECT(0) and checks that the path leaves the marks alone (RFC 9000 §13.4.2).
type ecnState struct {
	state   ecnPhase
	sent    uint64 // packets marked
	counted wire.ECNCounts
}

type ecnPhase uint8

const (
	ecnOff     ecnPhase = iota
	ecnTesting          // the first packets are marked and watched
	ecnCapable
)

// ecnTestPackets are marked before the path has proven itself.
const ecnTestPackets = 10

func (e *ecnState) init(on bool) {
	*e = ecnState{}
	if on {
		e.state = ecnTesting
	}
}

// sending reports whether the next 1-RTT packet is marked.
func (e *ecnState) sending() bool {
	return e.state == ecnCapable || e.state == ecnTesting && e.sent < ecnTestPackets
}

// mark decides whether a packet of a train is marked: all of a train or none.
func (e *ecnState) mark(t *wire.Train) bool {
	if t.N == 0 && e.sending() {
		t.ECN = wire.ECNECT0
	}
	if t.ECN != wire.ECNECT0 {
		return false
	}
	e.sent++
	return true
}

// onECN validates the counts of an ACK and tells the controller about congestion marks.
func (c *Conn) onECN(now mono.Time, level wire.Level, a *acked, counts wire.ECNCounts, present bool) {
	e := &c.ecn
	if level != wire.LevelOneRTT || e.state == ecnOff || a.ect == 0 && !present {
		return
	}
	if !present {
		if a.ect > 0 {
			e.state = ecnOff // the marks were erased, or the peer does not report them
		}
		return
	}
	marked := counts.ECT0 + counts.CE
	before := e.counted.ECT0 + e.counted.CE
	if marked < before || marked-before < a.ect || counts.ECT1 > 0 || marked > e.sent || counts.CE < e.counted.CE {
		e.state = ecnOff
		return
	}
	e.state = ecnCapable
	if counts.CE > e.counted.CE {
		c.cc.OnECN(now, a.largestTime, &c.rtt)
	}
	e.counted = counts
}
