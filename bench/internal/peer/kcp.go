package peer

import (
	"context"
	"crypto/aes"
	"crypto/rand"
	"encoding/hex"
	"net"
	"net/netip"

	"github.com/xtaci/kcp-go/v5"
	"godwit.example/godwit"
	"godwit.example/godwit/load"
)

const (
	// kcpWindow, in segments, is as large as a 64 KiB message needs several times over.
	kcpWindow = 1024
	kcpMTU    = 1452
)

func init() {
	const common = "fastest settings (NoDelay 1,10,2,1: no congestion control), window 1,024, MTU 1,452, acks not delayed, no FEC, a length-framed byte stream; " +
		"it knows neither handshake nor close: its server keeps every session until it ends"
	for _, v := range []struct {
		name, about string
		encrypted   bool
	}{
		{"kcp", "kcp-go 5.6.24, not encrypted; " + common, false},
		{"kcp-aes", "kcp-go 5.6.24 with its AES-128 in CFB mode under one key for all and a CRC-32: encrypted, not authenticated; " + common, true},
	} {
		register(&Peer{
			Name: v.name, About: v.about, Mode: godwit.Ordered, Encrypted: v.encrypted, Procs: 2,
			serveLinks: func(ctx context.Context, each func(link), ready func(netip.AddrPort, string)) error {
				return serveKCP(ctx, v.encrypted, each, ready)
			},
			Transport: func(addr netip.AddrPort, secret string) load.Transport {
				return &links{dial: func(context.Context, int) (link, error) { return dialKCP(addr, secret) }}
			},
		})
	}
}

func serveKCP(ctx context.Context, encrypted bool, each func(link), ready func(netip.AddrPort, string)) error {
	secret := ""
	if encrypted {
		var key [aes.BlockSize]byte
		_, _ = rand.Read(key[:])
		secret = hex.EncodeToString(key[:])
	}
	block, err := kcpCrypt(secret)
	if err != nil {
		return err
	}
	l, err := kcp.ListenWithOptions(listen.String(), block, 0, 0)
	if err != nil {
		return err
	}
	enlarge(l)
	stop := context.AfterFunc(ctx, func() { _ = l.Close() }) // ends its sessions too: their reads fail
	defer stop()
	ready(l.Addr().(*net.UDPAddr).AddrPort(), secret)
	for {
		s, err := l.AcceptKCP()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		tuneKCP(s)
		go each(&streamLink{ReadWriteCloser: s})
	}
}

// dialKCP makes a session on a socket of its own. The server hears of it with the first message.
func dialKCP(addr netip.AddrPort, secret string) (link, error) {
	block, err := kcpCrypt(secret)
	if err != nil {
		return nil, err
	}
	s, err := kcp.DialWithOptions(addr.String(), block, 0, 0)
	if err != nil {
		return nil, err
	}
	enlarge(s)
	tuneKCP(s)
	return &streamLink{ReadWriteCloser: s}, nil
}

func tuneKCP(s *kcp.UDPSession) {
	s.SetNoDelay(1, 10, 2, 1)
	s.SetWindowSize(kcpWindow, kcpWindow)
	s.SetMtu(kcpMTU)
	s.SetACKNoDelay(true)
	s.SetWriteDelay(false)
}

// kcpCrypt returns what encrypts under the key that secret is, nil if it is empty.
func kcpCrypt(secret string) (kcp.BlockCrypt, error) {
	if secret == "" {
		return nil, nil
	}
	key, err := hex.DecodeString(secret)
	if err != nil {
		return nil, err
	}
	return kcp.NewAESBlockCrypt(key)
}
