package invariant

import "testing"

func TestAViolationPanicsInDebugBuildsOnly(t *testing.T) {
	defer func() {
		got := recover()
		switch {
		case Enabled && got != "BUG: the sky is green":
			t.Errorf("a violated invariant panicked with %v", got)
		case !Enabled && got != nil:
			t.Errorf("a release build panicked with %v", got)
		}
	}()
	Check(false, "the sky is green")
	if Enabled {
		t.Error("a violated invariant went unnoticed")
	}
}

func TestAnInvariantThatHoldsIsSilent(t *testing.T) {
	Check(true, "unseen")
	if n := testing.AllocsPerRun(100, func() { Check(true, "unseen") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
