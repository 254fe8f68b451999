// Package mark counts how often rare paths of the code are taken, in builds
// tagged godwitdebug; in all others a mark is compiled to nothing.
//
// A test that claims to exercise a path proves it by the path's mark. A mark
// is registered once, beside the code it marks:
//
//	var markProbe = mark.Register("proto: probe timeout fired")
//	…
//	mark.Hit(markProbe)
package mark

// ID names a mark: an index into Names.
type ID uint16

// Max is how many marks a build can register.
const Max = 1024

// Names is the table of all registered marks by ID, filled while packages
// initialise and only read afterwards. Entry 0 stands for no mark. It holds
// nothing else in builds without godwitdebug.
var Names = []string{"none"}
