// Command game is an authoritative game server and its players: 30 times a second each player sends what he does, and the server sends the
// state of the world to each. It plays for some seconds and prints how many ticks were late and what a tick costs for each client, so that
// the three ways to drive a server can be compared.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"godwit.example/godwit"
)

const (
	interval  = time.Second / 30
	stateSize = 1000
	inputSize = 16
)

var (
	way     = flag.String("way", "tick", "what drives the server: tick, goroutine or blocking")
	players = flag.Int("players", 60, "number of players")
	length  = flag.Duration("for", 3*time.Second, "how long to play")
	server  = flag.Bool("server", false, "be the server, which the game starts as a process of its own to see its CPU time")
)

func main() {
	flag.Parse()
	run := play
	if *server {
		run = serve
	}
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "game:", err)
		os.Exit(1)
	}
}

// play starts the server and has all players play on it.
func play(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, os.Args[0], "-server", "-way="+*way, fmt.Sprint("-players=", *players))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	var address string
	if _, err := fmt.Fscanln(stdout, &address); err != nil {
		return errors.Join(err, cmd.Wait())
	}
	states, err := inputs(ctx, address)
	_ = stdin.Close() // the server ends
	report, readErr := io.ReadAll(stdout)
	if err := errors.Join(err, readErr, cmd.Wait()); err != nil {
		return err
	}
	fmt.Printf("%s: %d players, %s; %d states received\n", *way, *players, strings.TrimSpace(string(report)), states)
	return nil
}

// inputs connects the players and lets them send their inputs for the length of the game. It returns how many states they received.
func inputs(ctx context.Context, address string) (states int64, err error) {
	var received atomic.Int64
	cfg := &godwit.Config{TickInterval: interval, Handler: godwit.Handler{
		Message: func(_ godwit.Conn, m godwit.Message) {
			if len(m.Payload) == stateSize {
				received.Add(1)
			}
		},
		// Dials with one Config share a goroutine, so that a single Tick serves all players.
		Tick: func(s *godwit.Shard, now time.Time) {
			var input [inputSize]byte
			binary.LittleEndian.PutUint64(input[:], uint64(now.UnixNano()))
			for c := range s.Conns() {
				_ = c.Send(godwit.SequencedChannel, input[:]) // an input that is lost is replaced by the next one
			}
		},
	}}
	for range *players {
		c, err := godwit.Dial(ctx, address, cfg)
		if err != nil {
			return 0, err
		}
		defer c.Close()
	}
	received.Store(0)
	time.Sleep(*length)
	return received.Load(), nil
}
