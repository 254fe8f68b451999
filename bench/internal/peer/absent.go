package peer

// Go bindings of both exist, which expect to find the library.
func init() {
	registerAbsent("gamenetworkingsockets", "Debian 12 has no package of this C++ library, and its Go binding (github.com/nielsAD/gns) does not bring it along")
	registerAbsent("msquic", "Debian 12 has no package of this C library, and its Go binding (github.com/noboruma/go-msquic) does not bring it along")
}
