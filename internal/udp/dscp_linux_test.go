package udp

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// classOf receives one datagram on a bare socket and returns its traffic class, all eight bits.
func classOf(t *testing.T, fd int) int {
	t.Helper()
	var data, control [256]byte
	for range 1000 {
		_, n, _, _, err := unix.Recvmsg(fd, data[:], control[:], unix.MSG_DONTWAIT)
		if err != nil {
			time.Sleep(time.Millisecond)
			continue
		}
		messages, err := unix.ParseSocketControlMessage(control[:n])
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			if m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_TOS || m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_TCLASS {
				return int(m.Data[0])
			}
		}
	}
	t.Fatal("no datagram with a traffic class")
	return 0
}

func TestDSCPIsOnEveryDatagram(t *testing.T) {
	const expedited = 46
	for _, v6 := range []bool{false, true} {
		t.Run(fmt.Sprint("IPv6 ", v6), func(t *testing.T) {
			ip, family, level, option := "127.0.0.1", unix.AF_INET, unix.IPPROTO_IP, unix.IP_TOS
			receive := unix.IP_RECVTOS
			var any unix.Sockaddr = &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}
			if v6 {
				skipWithoutIPv6(t, "::1")
				ip, family, level, option, receive = "::1", unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, unix.IPV6_RECVTCLASS
				any = &unix.SockaddrInet6{Addr: [16]byte{15: 1}}
			}
			fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fd)
			if err := unix.Bind(fd, any); err != nil {
				t.Fatal(err)
			}
			if err := unix.SetsockoptInt(fd, level, receive, 1); err != nil {
				t.Fatal(err)
			}
			sa, err := unix.Getsockname(fd)
			if err != nil {
				t.Fatal(err)
			}
			from := addrFromSockaddr(sa)
			to := AddrFrom(netip.AddrPortFrom(netip.MustParseAddr(ip), from.Port()))

			client, err := Open(Config{Client: true, DSCP: expedited})
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			n, err := client.Connect(to)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := unix.GetsockoptInt(int(client.socks[n].fd), level, option); err != nil || got != expedited<<2 {
				t.Errorf("the socket has class %#x, %v", got, err)
			}
			for i := range 40 { // the socket takes on what most datagrams want on the way
				ecn := uint8(i/10) & 2
				var b WriteBatch
				b.Outs = append(b.Outs, Out{Data: []byte("x"), ECN: ecn, Socket: n})
				if sent, _ := client.Write(&b); sent != 1 {
					t.Fatal("not sent")
				}
				if got := classOf(t, fd); got != expedited<<2|int(ecn) {
					t.Fatalf("datagram %d has class %#x", i, got)
				}
			}
		})
	}
}
