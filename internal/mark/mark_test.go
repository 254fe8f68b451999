package mark

import (
	"sync"
	"testing"
)

var (
	markLeft  = Register("mark test: left")
	markRight = Register("mark test: right")
)

func TestHitsAreCountedInDebugBuildsOnly(t *testing.T) {
	left, right := Count(markLeft), Count(markRight)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 250 {
				Hit(markLeft)
			}
		})
	}
	wg.Wait()
	Hit(markRight)
	left, right = Count(markLeft)-left, Count(markRight)-right
	if Enabled && (left != 1000 || right != 1) || !Enabled && (left != 0 || right != 0) {
		t.Errorf("counted %d and %d", left, right)
	}
	if n := testing.AllocsPerRun(100, func() { Hit(markRight) }); n != 0 {
		t.Errorf("%v allocations a hit", n)
	}
}

func TestNamesAreFoundByID(t *testing.T) {
	if !Enabled {
		if len(Names) != 1 || markLeft != 0 {
			t.Errorf("a release build registered %v", Names)
		}
		return
	}
	if Names[markLeft] != "mark test: left" || Names[markRight] != "mark test: right" || Names[0] != "none" {
		t.Errorf("names are %v", Names)
	}
}

func TestANameIsRegisteredOnce(t *testing.T) {
	defer func() {
		if (recover() != nil) != Enabled {
			t.Error("a second registration was not refused as it should")
		}
	}()
	Register("mark test: left")
}
