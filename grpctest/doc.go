// Package grpctest holds no code: its tests run gRPC, client and server, over the byte streams of godwit connections. It is a module of its own so that
// nothing else depends on gRPC.
package grpctest
