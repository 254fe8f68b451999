//go:build !godwitmutant

package mutant

// Enabled reports whether mutants are compiled in.
const Enabled = false

// On reports whether the mutant is planted.
func On(ID) bool { return false }
