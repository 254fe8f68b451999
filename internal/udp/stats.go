package udp

// Stats is what an engine has done and what the host granted it. Counts only
// grow. The engine's owner reads it; it is a copy.
type Stats struct {
	// GSO, GRO, ECN and PacketInfo tell what is in force now; BusyPoll whether
	// the host accepted it.
	GSO, GRO, ECN, PacketInfo, BusyPoll bool
	// Demotions counts offloads switched off at run time.
	Demotions uint64

	// ReadCalls counts receive system calls, ReadEntries what they gave,
	// ReadSegments the datagrams inside, ReadBytes their payload.
	ReadCalls, ReadEntries, ReadSegments, ReadBytes uint64
	// KernelDrops counts datagrams the kernel dropped for want of receive
	// buffer (SO_RXQ_OVFL), as of the last datagram received.
	KernelDrops uint64
	// Truncated counts datagrams longer than a slab entry, dropped.
	Truncated uint64
	// ReadErrors counts receive calls that failed otherwise.
	ReadErrors uint64

	// WriteCalls counts send system calls, WriteEntries, WriteSegments and
	// WriteBytes what the kernel took.
	WriteCalls, WriteEntries, WriteSegments, WriteBytes uint64
	// WriteBlocked counts writes that ended at a full socket buffer (EAGAIN).
	WriteBlocked uint64
	// Datagrams given up, by cause: WriteLost the host's queue was full
	// (ENOBUFS), WriteTooLarge the datagram exceeds the interface's MTU
	// (EMSGSIZE), WriteRefused everything else (a firewall, no route, a socket
	// closed meanwhile).
	WriteLost, WriteTooLarge, WriteRefused uint64
	// ICMPErrors counts errors that connected sockets report because of ICMP
	// messages, such as ECONNREFUSED. They are passed over: anyone could have
	// sent the message, and it speaks of an earlier datagram.
	ICMPErrors uint64

	// Waits counts blocking waits, HeldWaits those of them that kept the Go
	// scheduler's processor, Wakes the wake-ups written to the kernel.
	Waits, HeldWaits, Wakes uint64

	// Sockets is the number of open sockets. ReceiveBuffer and SendBuffer are
	// what the host granted, in the unit of Config.
	Sockets                   int
	ReceiveBuffer, SendBuffer int
	// Hint is how the administrator grants what was refused; empty if nothing
	// was.
	Hint string
}
