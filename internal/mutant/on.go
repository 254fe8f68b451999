//go:build godwitmutant

package mutant

// Enabled reports whether mutants are compiled in.
const Enabled = true

var planted ID

// On reports whether the mutant is planted.
func On(id ID) bool { return planted == id }

// Plant plants a mutant; None removes it. It is for tests that run one simulation at a time.
func Plant(id ID) { planted = id }
