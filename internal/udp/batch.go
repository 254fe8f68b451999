package udp

// What the kernel takes and gives as one entry.
const (
	maxSegments = 64       // UDP_MAX_SEGMENTS of the kernels before 6.9
	maxPayload  = 65507    // the longest UDP payload over IPv4
	groEntry    = 64 << 10 // the longest UDP payload
)

// mostSegments is how many segments of a size may be sent as one entry.
func mostSegments(segment int) int { return max(1, min(maxSegments, maxPayload/segment)) }

func segmentsOf(size, segment int) int {
	if segment <= 0 {
		return 1
	}
	return (size + segment - 1) / segment
}

// Datagram is one received entry.
type Datagram struct {
	// Data holds the segments side by side. It lies in the batch's slab: the
	// receiver may change it in place (packets are opened there) and loses it
	// at the next Read into the same batch.
	Data []byte
	// Segment is the size of each segment but the last, or 0 if Data is one.
	Segment int
	// Remote is the sender. Local is the address the datagram was sent to, its
	// port zero, bytes 20-23 the interface it came through; zero if unknown.
	Remote, Local Addr
	// ECN holds the two ECN bits of the IP header (RFC 3168).
	ECN uint8
	// Socket tells which of the engine's sockets received it; 0 for a server.
	Socket uint32
}

// Out is one entry to send.
type Out struct {
	// Data holds the segments side by side; the engine reads it during Write
	// only. After a partial Write it is what is left to send.
	Data []byte
	// Segment is the size of each segment but the last; 0, or len(Data) and
	// more, sends Data as one datagram.
	Segment int
	// Remote is the receiver; ignored on connected sockets. Local is the
	// address to send from, as Datagram.Local gave it; zero leaves the choice
	// to the host. Its port is ignored.
	Remote, Local Addr
	// ECN holds the two ECN bits to set.
	ECN uint8
	// Socket is the socket to send on, as Connect or Datagram.Socket gave it.
	Socket uint32
}

// WriteBatch is what Write sends. Its owner fills Outs and may reuse the slice;
// Write may reorder it (see there).
type WriteBatch struct {
	Outs []Out
}

// ReadBatch is what one Read gives. The zero value is ready for use with any
// engine; the first Read ties it to that engine and maps its slab. An owner
// that no longer needs it calls Free.
type ReadBatch struct {
	// Datagrams holds the N entries received, valid until the next Read.
	Datagrams []Datagram
	N         int
	// Limit bounds the entries of one Read; 0 or more than the slab holds
	// means as many as the slab holds.
	Limit int
	// More tells that the kernel probably holds more: the next Read will not
	// come back empty. When it is false, Wait may follow at once.
	More bool

	slab slab
}

// slab is where a batch's entries lie; each engine brings its own.
type slab interface {
	free() // unmaps everything
	trim() // gives touched pages back
}

// Free gives the slab's memory back. The batch may be used again: it then
// starts anew.
func (b *ReadBatch) Free() {
	if b.slab != nil {
		b.slab.free()
	}
	*b = ReadBatch{Limit: b.Limit}
}

// Trim gives the slab's touched pages back to the host but keeps the batch:
// for a shard that has been idle for a while. Entries of the last Read are
// lost.
func (b *ReadBatch) Trim() {
	b.N, b.More = 0, false
	if b.slab != nil {
		b.slab.trim()
	}
}
