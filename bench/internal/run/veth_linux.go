package run

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// namespaceFiles is where the command ip keeps namespaces.
const namespaceFiles = "/run/netns"

// openVeth makes the namespaces and the cable, and sends a train each way to see that
// it is cut.
func openVeth(ctx context.Context) (v *veth, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, fmt.Errorf("the command ip of iproute2 makes network namespaces: %w", err)
	}
	removeStale(ctx)
	v = newVeth()
	v.Close() // one of a run before that could not be removed then
	defer func() {
		if err != nil {
			v.Close()
		}
	}()
	steps := [][]string{
		{"netns", "add", v.server},
		{"netns", "add", v.client},
		{"link", "add", vethDevice, "netns", v.server, "type", "veth", "peer", "name", vethDevice, "netns", v.client},
	}
	for ns, ip := range map[string]netip.Addr{v.server: vethServer, v.client: vethClient} {
		steps = append(steps,
			[]string{"-n", ns, "link", "set", "lo", "up"},
			[]string{"-n", ns, "link", "set", vethDevice, "addrgenmode", "none"}, // no packets of IPv6
			[]string{"-n", ns, "addr", "add", ip.String() + "/24", "dev", vethDevice},
			[]string{"-n", ns, "link", "set", vethDevice, "mtu", strconv.Itoa(vethMTU), "up"})
	}
	for _, args := range steps {
		if err := ip(ctx, args...); err != nil {
			return nil, err
		}
	}
	for _, ns := range []string{v.server, v.client} {
		if err := inNamespace(ns, func() error { return offloadsOff(vethDevice) }); err != nil {
			return nil, fmt.Errorf("offloads of a veth: %w", err)
		}
	}
	return v, errors.Join(trainIsCut(v.client, v.server, vethServer), trainIsCut(v.server, v.client, vethClient))
}

func ip(ctx context.Context, args ...string) error {
	if said, err := exec.CommandContext(ctx, "ip", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(said)))
	}
	return nil
}

// removing bounds how long namespaces may take to be removed.
const removing = 10 * time.Second

// Close removes the namespaces, and the cable with them. Processes in them must have ended.
func (v *veth) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), removing)
	defer cancel()
	for _, ns := range []string{v.server, v.client} {
		remove(ctx, ns)
	}
}

func remove(ctx context.Context, ns string) {
	if _, err := os.Stat(filepath.Join(namespaceFiles, ns)); err == nil {
		_ = ip(ctx, "netns", "del", ns)
	}
}

// removeStale removes the namespaces of processes that were killed.
func removeStale(ctx context.Context) {
	names, _ := filepath.Glob(filepath.Join(namespaceFiles, vethPrefix+"*-[sc]"))
	for _, name := range names {
		name = filepath.Base(name)
		pid, err := strconv.Atoi(name[len(vethPrefix) : len(name)-len("-s")])
		if err != nil || unix.Kill(pid, 0) != unix.ESRCH {
			continue
		}
		remove(ctx, name)
	}
}

// inNamespace calls f on a thread that is in a namespace, and ends with it.
func inNamespace(name string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked, so that nobody inherits the namespace
		done <- func() error {
			fd, err := unix.Open(filepath.Join(namespaceFiles, name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return os.NewSyscallError("open", err)
			}
			defer unix.Close(fd)
			if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
				return os.NewSyscallError("setns", err)
			}
			return f()
		}()
	}()
	return <-done
}

// wire reads what crossed the cable.
func (v *veth) wire() (*Wire, error) {
	toServer, err1 := received(v.server)
	fromServer, err2 := received(v.client)
	return &Wire{ToServer: toServer, FromServer: fromServer}, errors.Join(err1, err2)
}

// received returns what one end of the cable has received.
func received(ns string) (f Frames, err error) {
	var text []byte
	if err := inNamespace(ns, func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/dev")
		return err
	}); err != nil {
		return f, err
	}
	for line := range strings.Lines(string(text)) {
		name, counts, _ := strings.Cut(line, ":")
		if strings.TrimSpace(name) == vethDevice {
			_, err := fmt.Sscan(counts, &f.Bytes, &f.Packets)
			return f, err
		}
	}
	return f, fmt.Errorf("/proc/net/dev of %s has no %s", ns, vethDevice)
}

// The train that is sent to see whether it is cut.
const (
	trainSegments = 60
	trainSegment  = 100 // B
	trainTime     = 200 * time.Millisecond
	trains        = 15 // that are sent at most: for a second or more after it is up an interface may drop what is sent
)

// trainIsCut sends trains of UDP segments from one end to a port that nobody
// listens on, until one has come as so many packets.
func trainIsCut(from, to string, ip netip.Addr) error {
	var most uint64
	for range trains {
		came, err := sendCounted(from, to, ip)
		if err != nil || came >= trainSegments {
			return err
		}
		most = max(most, came)
	}
	return fmt.Errorf("a train of %d datagrams crossed the veth as %d packets: segmentation offload cannot be switched off here", trainSegments, most)
}

// sendCounted sends a train and returns how many packets have come.
func sendCounted(from, to string, ip netip.Addr) (came uint64, err error) {
	before, err := received(to)
	if err != nil {
		return 0, err
	}
	if err := inNamespace(from, func() error { return sendTrain(ip) }); err != nil {
		return 0, fmt.Errorf("a train over the veth: %w", err)
	}
	for range 20 {
		after, err := received(to)
		if err != nil {
			return 0, err
		}
		if came = after.Packets - before.Packets; came >= trainSegments {
			break
		}
		time.Sleep(trainTime / 20)
	}
	return came, nil
}

func sendTrain(ip netip.Addr) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT, trainSegment); err != nil {
		return os.NewSyscallError("UDP_SEGMENT", err)
	}
	const discard = 9
	err = unix.Sendto(fd, make([]byte, trainSegments*trainSegment), 0, &unix.SockaddrInet4{Port: discard, Addr: ip.As4()})
	return os.NewSyscallError("sendto", err)
}
