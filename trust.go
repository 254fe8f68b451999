package godwit

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"godwit.example/godwit/internal/handshake"
	"godwit.example/godwit/internal/shard"
)

// identityDir is where the development identity lies.
func identityDir(l *limits) (string, error) {
	if l.Identity != "" {
		return l.Identity, nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "godwit"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", errors.New("godwit: there is no directory for the development identity: set Config.Identity, or give certificates")
	}
	return filepath.Join(home, ".local", "state", "godwit"), nil
}

// serverTLS builds the TLS configuration of a server's sessions and finds its identity: that of its first certificate, nil if TLS
// callbacks choose one.
func serverTLS(l *limits) (*tls.Config, *handshake.Identity, error) {
	if sim := l.Tuning.Simulation; sim != nil && !sim.RealTLS {
		return nil, nil, nil
	}
	o := handshake.ServerOptions{TLS: withKeyLog(l)}
	var err error
	switch {
	case l.CertFile != "" || l.KeyFile != "":
		o.Identity, err = handshake.LoadIdentity(l.CertFile, l.KeyFile, handshake.IdentityOptions{})
	case o.TLS != nil && (len(o.TLS.Certificates) > 0 || o.TLS.GetCertificate != nil || o.TLS.GetConfigForClient != nil):
		if len(o.TLS.Certificates) > 0 {
			o.Identity, err = handshake.NewIdentity(o.TLS.Certificates[0], handshake.IdentityOptions{})
		}
	default:
		var dir string
		if dir, err = identityDir(l); err == nil {
			o.Identity, err = handshake.LoadDevelopment(dir)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	identity := o.Identity
	if o.TLS != nil && len(o.TLS.Certificates) > 1 {
		o.Identity = nil // crypto/tls chooses among them
	}
	cfg, err := handshake.ServerConfig(o)
	return cfg, identity, err
}

func withKeyLog(l *limits) *tls.Config {
	cfg := l.TLS
	if l.KeyLog != nil {
		if cfg == nil {
			cfg = new(tls.Config)
		}
		cfg.KeyLogWriter = l.KeyLog // l owns its copy
	}
	return cfg
}

// sessions keeps the tickets of all servers that this process has dialed.
var sessions = handshake.NewSessionCache(256)

// clientTLS builds the TLS configuration for one server. Pins decide if there are any; on loopback the development identity of
// the same user is trusted; otherwise the certificate must be valid for the name.
func clientTLS(l *limits, t *target) (*tls.Config, error) {
	if sim := l.Tuning.Simulation; sim != nil && !sim.RealTLS {
		return nil, nil
	}
	o := handshake.ClientOptions{TLS: withKeyLog(l), Sessions: sessions}
	if o.TLS == nil || o.TLS.ServerName == "" {
		o.ServerName = t.host
	}
	for _, p := range slices.Concat(l.Pins, t.pins) {
		o.Pins = append(o.Pins, handshake.Pin(p))
	}
	if len(o.Pins) == 0 && t.addr.Addr().IsLoopback() && (o.TLS == nil || o.TLS.RootCAs == nil && !o.TLS.InsecureSkipVerify) {
		if pin, ok := developmentPin(l); ok {
			o.Pins = append(o.Pins, pin)
		}
	}
	return handshake.ClientConfig(o)
}

// developmentPin returns the pin of this user's development identity, if there is one.
func developmentPin(l *limits) (pin handshake.Pin, ok bool) {
	dir, err := identityDir(l)
	if err != nil {
		return pin, false
	}
	if _, err := os.Stat(filepath.Join(dir, handshake.DevelopmentFile)); err != nil {
		return pin, false
	}
	id, err := handshake.LoadDevelopment(dir)
	if err != nil {
		return pin, false
	}
	return id.Pin(), true
}

// newWorkers returns what computes handshakes: nothing in a simulation without goroutines, where they are computed at once.
func newWorkers(l *limits, limit int) *shard.Workers {
	if l.stepped() != nil {
		return nil
	}
	return shard.NewWorkers(l.Tuning.Workers, limit)
}

// serverSession returns what makes the sessions of a server.
func serverSession(l *limits, cfg *tls.Config) func(params []byte) shard.Session {
	if sim := l.Tuning.Simulation; sim != nil && !sim.RealTLS {
		return func(params []byte) shard.Session {
			seed := sim.Seed()
			return handshake.NewFakeServer(binary.NativeEndian.Uint64(seed[:]), params, handshake.FakeOptions{})
		}
	}
	return func(params []byte) shard.Session { return handshake.NewServer(cfg, params) }
}

// clientSession returns what makes the session of a dial.
func clientSession(l *limits, cfg *tls.Config) func(params []byte) shard.Session {
	if sim := l.Tuning.Simulation; sim != nil && !sim.RealTLS {
		return func(params []byte) shard.Session {
			seed := sim.Seed()
			return handshake.NewFakeClient(binary.NativeEndian.Uint64(seed[:]), params, handshake.FakeOptions{})
		}
	}
	return func(params []byte) shard.Session { return handshake.NewClient(cfg, params) }
}
