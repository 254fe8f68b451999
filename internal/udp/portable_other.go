//go:build !linux

package udp

import "net"

// What package net does not tell is not known here.

func askLocal(*net.UDPConn) bool { return false }

func granted(*net.UDPConn, int) (receive, send int, hint string) { return 0, 0, "" }

type controlIn struct{}

func (*controlIn) buffer() []byte { return nil }

func (*controlIn) local(int) Addr { return Addr{} }

type controlOut struct{}

func (*controlOut) local(*Addr) []byte { return nil }
