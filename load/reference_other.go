//go:build !linux

package load

import (
	"context"
	"errors"
	"net/netip"

	"godwit.example/godwit/internal/mono"
)

// tcpClient exists on Linux only: elsewhere a generator as precise as godwit's own
// would need that system's poller.
type tcpClient struct{ addr netip.AddrPort }

var errNoReference = errors.New("the TCP reference needs Linux")

func newTCPClient(_ *Config, addr netip.AddrPort) *tcpClient { return &tcpClient{addr} }

func (t *tcpClient) connect(context.Context) error                      { return errNoReference }
func (t *tcpClient) drive(context.Context, *generator, mono.Time) error { return errNoReference }
func (t *tcpClient) send(int, []byte) bool                              { return false }
func (t *tcpClient) remote() netip.Addr                                 { return t.addr.Addr() }
func (t *tcpClient) packets() (packetCounts, bool)                      { return packetCounts{}, false }
func (t *tcpClient) close()                                             {}

func onCPUs(cpus []int, start func() error) error {
	if len(cpus) > 0 {
		return errors.New("CPUs can be chosen on Linux only")
	}
	return start()
}
