package main

import (
	"context"
	"path/filepath"

	"godwit.example/godwit/tools/internal/process"
)

// startServer builds the server if need be and starts it. Whether it is up shows when the first connection comes about. Its binary and its
// identity are in dir.
func startServer(ctx context.Context, o *options, dir string) (*process.Echo, error) {
	binary, err := process.Program(ctx, dir, o.server, "godwit.example/godwit/examples/echo")
	if err != nil {
		return nil, err
	}
	return process.StartEcho(ctx, process.Place{CPU: -1, Procs: o.gomaxprocs, State: filepath.Join(dir, "state")}, binary)
}
