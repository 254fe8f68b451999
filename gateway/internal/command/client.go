package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"godwit.example/godwit"
)

// clientFlags are the flags of every command that connects to a server.
type clientFlags struct {
	pin    string
	engine string
	plain  bool
	json   bool
}

const engineHelp = "what moves datagrams: linux, portable (package net); empty is the best that the platform has"

func (f *clientFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.pin, "pin", "", "fingerprint of the server's key, as its banner prints it; needless for a server of the same user on loopback")
	flags.StringVar(&f.engine, "engine", "", engineHelp)
	flags.BoolVar(&f.plain, "plain", false, "checksums instead of encryption; the server must have been started with --plain too")
	flags.BoolVar(&f.json, "json", false, "print one JSON object on one line on standard output")
}

// config turns the flags into a Config.
func (f *clientFlags) config() (*godwit.Config, error) {
	cfg := &godwit.Config{Plain: f.plain, Engine: f.engine}
	if f.pin != "" {
		pin, err := godwit.ParsePin(f.pin)
		if err != nil {
			return nil, fmt.Errorf("--pin: %w (copy it from the server's banner)", err)
		}
		cfg.Pins = []godwit.Pin{pin}
	}
	return cfg, nil
}

// address is the command's argument, or the default server.
func address(args []string) string {
	if len(args) > 0 {
		return args[0]
	}
	return DefaultAddress
}

// dialHint adds what to try to the error of a connection that did not come about.
func dialHint(addr string, err error) error {
	var h *godwit.HandshakeError
	switch {
	case errors.As(err, &h) && h.Hint != "":
		return err // it says so itself
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &h) && h.Timeout():
		return fmt.Errorf("%w: is a server running at %s? godwit serve starts one", err, addr)
	}
	return err
}
