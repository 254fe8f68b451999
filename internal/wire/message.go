package wire

// Messages is the head of a MESSAGE or MESSAGES frame: Count messages with the IDs First, First+1, … of one channel, each read by
// Next from the bytes that follow.
type Messages struct {
	Channel uint64 // at most MaxChannel
	First   uint64
	Count   int // at least 1
	Keyed   bool
}

// ParseMessages parses the head of a frame of type FrameMessage to FrameMessagesKeyed; the messages begin at b[n:] and are read by
// Next. The count is
// checked against the bytes left, so that a loop over it is bounded by the datagram.
func ParseMessages(typ byte, b []byte) (m Messages, n int) {
	channel, i := Varint(b)
	first, j := Varint(b[i:])
	n = i + j
	if i == 0 || j == 0 || channel > MaxChannel {
		return m, Malformed
	}
	count := uint64(1)
	if typ&2 != 0 {
		var k int
		count, k = Varint(b[n:])
		n += k
		if k == 0 || count-1 >= uint64(len(b)-n) || first+count-1 > MaxVarint {
			return m, Malformed
		}
	}
	return Messages{Channel: channel, First: first, Count: int(count), Keyed: typ&1 != 0}, n
}

// Next reads the message at b[off:] and returns the offset behind it, or Malformed if b ends too early. It is called Count times.
// The payload aliases b. It takes an offset because re-slicing b would put four more instructions into the chain from one
// message to the next, which is all that this loop waits for.
func (m *Messages) Next(b []byte, off int) (key uint64, payload []byte, end int) {
	// Unkeyed messages of up to 16383 bytes are read here, everything else in the general way: a call costs it a nanosecond.
	if !m.Keyed && off >= 0 && off < len(b)-1 {
		if n := int(b[off]); n < 0x40 {
			off++
			end = off + n
			if end <= len(b) {
				return 0, b[off:end:end], end
			}
			return 0, nil, Malformed
		} else if n < 0x80 {
			end = off + 2 + (n&0x3f<<8 | int(b[off+1]))
			if end <= len(b) {
				return 0, b[off+2 : end : end], end
			}
			return 0, nil, Malformed
		}
	}
	return m.next(b, off)
}

func (m *Messages) next(b []byte, off int) (key uint64, payload []byte, end int) {
	if uint(off) > uint(len(b)) {
		return 0, nil, Malformed
	}
	n := off
	if m.Keyed {
		var k int
		if key, k = Varint(b[n:]); k == 0 {
			return 0, nil, Malformed
		}
		n += k
	}
	length, k := Varint(b[n:])
	n += k
	if k == 0 || length > uint64(len(b)-n) {
		return 0, nil, Malformed
	}
	end = n + int(length)
	return key, b[n:end:end], end
}

// MessageOverhead returns what a MESSAGE frame takes beyond its payload.
func MessageOverhead(channel, id, key uint64, keyed bool, length int) int {
	return 1 + VarintLen(channel) + VarintLen(id) + MessageItemOverhead(key, keyed, length)
}

// MessageItemOverhead returns what a message inside a MESSAGES frame takes beyond its payload.
func MessageItemOverhead(key uint64, keyed bool, length int) int {
	n := VarintLen(uint64(length))
	if keyed {
		n += VarintLen(key)
	}
	return n
}

// MessagesHeaderLen returns the length of a MESSAGES frame's head, its two-byte count included.
func MessagesHeaderLen(channel, first uint64) int {
	return 1 + VarintLen(channel) + VarintLen(first) + 2
}

// AppendMessage appends a whole MESSAGE frame.
func AppendMessage(b []byte, channel, id, key uint64, keyed bool, payload []byte) []byte {
	b = append(b, FrameMessage|keyedBit(keyed))
	b = AppendVarint(b, channel)
	b = AppendVarint(b, id)
	return AppendMessageItem(b, key, keyed, payload)
}

// AppendMessagesHeader begins a MESSAGES frame. The messages follow by AppendMessageItem; PatchCount sets their number at the
// end, at countOff in the returned slice. Until then it is zero, which no receiver accepts.
func AppendMessagesHeader(b []byte, channel, first uint64, keyed bool) (out []byte, countOff int) {
	b = append(b, FrameMessages|keyedBit(keyed))
	b = AppendVarint(b, channel)
	b = AppendVarint(b, first)
	return append(b, 0x40, 0), len(b)
}

// AppendMessageItem appends one message of a MESSAGES frame.
func AppendMessageItem(b []byte, key uint64, keyed bool, payload []byte) []byte {
	if keyed {
		b = AppendVarint(b, key)
	}
	b = AppendVarint(b, uint64(len(payload)))
	return append(b, payload...)
}

// PatchCount sets the count of a MESSAGES frame, 1 to 16383.
func PatchCount(b []byte, countOff, n int) { PutVarint2(b[countOff:], n) }

// keyedBit is the low bit of the types of keyed frames.
func keyedBit(keyed bool) byte {
	if keyed {
		return 1
	}
	return 0
}

// Fragment is a FRAGMENT frame: Data is the piece at Offset of a message of Total bytes. It is never empty and ends within Total.
type Fragment struct {
	Channel uint64 // at most MaxChannel
	ID      uint64
	Key     uint64
	Offset  uint64
	Total   uint64
	Data    []byte
	Keyed   bool
}

// ParseFragment parses a frame of type FrameFragment or FrameFragmentKeyed. A piece that is empty or ends beyond the total is
// Malformed.
func ParseFragment(typ byte, b []byte) (f Fragment, n int) {
	var v [5]uint64 // channel, ID, key, offset, total
	f.Keyed = typ&1 != 0
	if f.Keyed {
		n = varints(b, v[:])
	} else {
		n = varints(b, v[1:])
		v[0], v[1], v[2] = v[1], v[2], 0
	}
	if n < 0 || v[0] > MaxChannel {
		return f, Malformed
	}
	data, k := lengthed(b[n:])
	if k < 0 || len(data) == 0 || v[3]+uint64(len(data)) > v[4] {
		return f, Malformed
	}
	f.Channel, f.ID, f.Key, f.Offset, f.Total, f.Data = v[0], v[1], v[2], v[3], v[4], data
	return f, n + k
}

// FragmentOverhead returns what a FRAGMENT frame takes beyond its data of at most length bytes.
func FragmentOverhead(channel, id, key uint64, keyed bool, offset, total uint64, length int) int {
	return 1 + VarintLen(channel) + VarintLen(id) + VarintLen(offset) + VarintLen(total) +
		MessageItemOverhead(key, keyed, length)
}

// AppendFragment appends a FRAGMENT frame.
func AppendFragment(b []byte, f *Fragment) []byte {
	b = append(b, FrameFragment|keyedBit(f.Keyed))
	b = AppendVarint(b, f.Channel)
	b = AppendVarint(b, f.ID)
	if f.Keyed {
		b = AppendVarint(b, f.Key)
	}
	b = AppendVarint(b, f.Offset)
	b = AppendVarint(b, f.Total)
	b = AppendVarint(b, uint64(len(f.Data)))
	return append(b, f.Data...)
}

// ParseSkip parses a SKIP frame: the sender abandons what it has not delivered of the channel's messages up to ID upTo, included,
// and cost is the credit that all messages up to there have cost since the connection began.
func ParseSkip(b []byte) (channel, upTo, cost uint64, n int) {
	var v [3]uint64
	if n = varints(b, v[:]); n < 0 || v[0] > MaxChannel {
		return 0, 0, 0, Malformed
	}
	return v[0], v[1], v[2], n
}

// AppendSkip appends a SKIP frame.
func AppendSkip(b []byte, channel, upTo, cost uint64) []byte {
	return append3(append(b, FrameSkip), channel, upTo, cost)
}
