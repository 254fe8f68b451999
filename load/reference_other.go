//go:build !linux

package load

import (
	"context"
	"errors"
	"net/netip"
)

// tcpClient exists on Linux only: elsewhere a generator as precise as godwit's own
// would need that system's poller.
type tcpClient struct{ addr netip.AddrPort }

var errNoReference = errors.New("the TCP reference needs Linux")

func newTCPClient(addr netip.AddrPort) *tcpClient { return &tcpClient{addr} }

func (t *tcpClient) Connect(context.Context, int) error { return errNoReference }
func (t *tcpClient) Drive(context.Context, *Load) error { return errNoReference }
func (t *tcpClient) Send(int, []byte) bool              { return false }
func (t *tcpClient) remote() netip.Addr                 { return t.addr.Addr() }
func (t *tcpClient) packets() (packetCounts, bool)      { return packetCounts{}, false }
func (t *tcpClient) Close()                             {}

func onCPUs(cpus []int, start func() error) error {
	if len(cpus) > 0 {
		return errors.New("CPUs can be chosen on Linux only")
	}
	return start()
}
