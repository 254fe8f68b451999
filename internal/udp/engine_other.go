//go:build !linux

package udp

// Best names the engine that Open opens here.
const Best = "portable"

// Engine is the portable one where there is no batched one.
type Engine = Portable

// Open opens a server's socket, a client's shared or bound socket, or a client
// without sockets. The caller closes the engine.
func Open(cfg Config) (*Engine, error) { return OpenPortable(cfg) }

// OpenGroup opens one engine. It cannot steer between several here and then
// gives an error that wraps ErrSteering.
func OpenGroup(cfg Config, n int) ([]*Engine, error) {
	cfg.Shards = n
	e, err := OpenPortable(cfg)
	if err != nil {
		return nil, err
	}
	return []*Engine{e}, nil
}
