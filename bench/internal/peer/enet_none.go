//go:build !enet || !cgo || !linux

package peer

func init() {
	registerAbsent("enet", "built without -tags enet, or not on Linux: it needs cgo and the C library (Debian's libenet-dev)")
}
