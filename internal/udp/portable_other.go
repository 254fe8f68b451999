//go:build !linux

package udp

import "net"

// What package net does not tell is not known here.

func probeOffloads() (gso, gro bool) { return false, false }

func receiveTogether(*net.UDPConn) bool { return false }

func refusesSegments(error) bool { return false }

func askLocal(*net.UDPConn) bool { return false }

func granted(*net.UDPConn, int) (receive, send int, hint string) { return 0, 0, "" }

type controlIn struct{}

func (*controlIn) buffer() []byte { return nil }

func (*controlIn) read(int) (local Addr, segment int) { return Addr{}, 0 }

type controlOut struct{}

func (*controlOut) write(*Addr, int) []byte { return nil }
