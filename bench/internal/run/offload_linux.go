package run

import (
	"bytes"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands and names of linux/ethtool.h.
const (
	ethtoolStrings     = 0x1b // ETHTOOL_GSTRINGS
	ethtoolSetInfo     = 0x37 // ETHTOOL_GSSET_INFO
	ethtoolSetFeatures = 0x3b // ETHTOOL_SFEATURES

	ethtoolFeatures = 4  // ETH_SS_FEATURES
	ethtoolName     = 32 // ETH_GSTRING_LEN
)

// offloadsOff switches off what lets many segments cross an interface as one
// packet, in either direction, as ethtool -K does.
func offloadsOff(device string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	names, err := featureNames(fd, device)
	if err != nil {
		return err
	}
	words := (len(names) + 31) / 32
	request := make([]uint32, 2+2*words) // command, words, then for each word: which bits, their values
	request[0], request[1] = ethtoolSetFeatures, uint32(words)
	for i, name := range names {
		if isSegmentation(name) {
			request[2+i/32*2] |= 1 << (i % 32)
		}
	}
	// Features that are fixed are refused, without an error: packets will be counted.
	return ethtool(fd, device, unsafe.Pointer(&request[0]))
}

func isSegmentation(feature string) bool {
	for _, s := range []string{"segmentation", "gso", "gro", "lro"} {
		if strings.Contains(feature, s) {
			return true
		}
	}
	return false
}

// featureNames are those of the bits of an interface's features.
func featureNames(fd int, device string) ([]string, error) {
	info := struct {
		cmd, reserved uint32
		mask          uint64
		count         uint32
		_             uint32
	}{cmd: ethtoolSetInfo, mask: 1 << ethtoolFeatures}
	if err := ethtool(fd, device, unsafe.Pointer(&info)); err != nil {
		return nil, err
	}
	const head = 12 // command, set and count
	request := make([]byte, head+int(info.count)*ethtoolName)
	h := (*[3]uint32)(unsafe.Pointer(&request[0]))
	h[0], h[1], h[2] = ethtoolStrings, ethtoolFeatures, info.count
	if err := ethtool(fd, device, unsafe.Pointer(&request[0])); err != nil {
		return nil, err
	}
	names := make([]string, info.count)
	for i := range names {
		name, _, _ := bytes.Cut(request[head+i*ethtoolName:][:ethtoolName], []byte{0})
		names[i] = string(name)
	}
	return names, nil
}

func ethtool(fd int, device string, request unsafe.Pointer) error {
	ifreq := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: request}
	copy(ifreq.name[:len(ifreq.name)-1], device)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&ifreq))); errno != 0 {
		return os.NewSyscallError("SIOCETHTOOL", errno)
	}
	return nil
}
