package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// steerToHash is what the program returns to leave the choice to the kernel's
// hash of the four addresses: any number that is not the index of a socket.
const steerToHash = 0xffffffff

// steerProgram assembles ShardOf as classic BPF. The kernel runs it with the
// UDP payload at offset 0; a load beyond the end returns 0, so a datagram
// too short to be anything goes to the first socket.
func steerProgram(shards int) ([]bpf.RawInstruction, error) {
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xc0},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0x40, SkipTrue: 4},
		bpf.LoadAbsolute{Off: 1, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: steerMask},
		bpf.ALUOpConstant{Op: bpf.ALUOpMod, Val: uint32(shards)},
		bpf.RetA{},
		bpf.RetConstant{Val: steerToHash},
	})
}

// joinGroup makes the socket, before it is bound, one of the sockets that share
// the address. The first one brings the program; it then holds for all.
func (e *Engine) joinGroup(fd int) error {
	if err := e.sys.setsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return fmt.Errorf("%w: SO_REUSEPORT: %w", ErrSteering, err)
	}
	if e.cfg.ShardIndex != 0 {
		return nil
	}
	raw, err := steerProgram(e.cfg.Shards)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrSteering, err)
	}
	filter := make([]unix.SockFilter, len(raw))
	for i, in := range raw {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: unsafe.SliceData(filter)}
	if err := e.sys.attachFilter(fd, &program); err != nil {
		return fmt.Errorf("%w: SO_ATTACH_REUSEPORT_CBPF: %w", ErrSteering, err)
	}
	return nil
}

// OpenGroup opens n engines on one address, steered so that each receives the
// datagrams whose connection ID names it (ShardOf). A port of 0 is chosen once
// for all. An error that wraps ErrSteering says that this host cannot do it;
// the caller may open a single engine instead.
func OpenGroup(cfg Config, n int) ([]*Engine, error) {
	return openGroup(cfg, n, kernel)
}

func openGroup(cfg Config, n int, sys system) ([]*Engine, error) {
	cfg.Shards, cfg.Client = n, false
	engines := make([]*Engine, 0, n)
	fail := func(err error) ([]*Engine, error) {
		errs := []error{err}
		for _, e := range engines {
			errs = append(errs, e.Close())
		}
		return nil, errors.Join(errs...)
	}
	if n > 1 && cfg.Addr.Port() != 0 {
		// SO_REUSEPORT would let us join the sockets of another server on
		// this port without a word. Binding once without it asks whether
		// there is one.
		alone := cfg
		alone.Shards = 0
		e, err := open(alone, sys)
		if err != nil {
			return fail(err)
		}
		if err := e.Close(); err != nil {
			return fail(err)
		}
	}
	for i := range n {
		cfg.ShardIndex = i
		e, err := open(cfg, sys)
		if err != nil {
			return fail(err)
		}
		engines = append(engines, e)
		cfg.Addr = netip.AddrPortFrom(cfg.Addr.Addr(), e.LocalAddr().Port())
	}
	return engines, nil
}
