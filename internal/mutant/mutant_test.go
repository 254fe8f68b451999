package mutant

import "testing"

func TestEveryMutantHasAName(t *testing.T) {
	seen := map[string]bool{}
	for _, id := range append(All(), Costs()...) {
		if n := id.String(); n == "" || seen[n] {
			t.Errorf("mutant %d is called %q", id, n)
		} else {
			seen[n] = true
		}
	}
	if !Enabled && On(NoPTO) {
		t.Error("a mutant is on in an ordinary build")
	}
}
