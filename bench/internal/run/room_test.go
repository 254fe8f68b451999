package run

import (
	"strings"
	"testing"

	"godwit.example/godwit/bench/internal/room"
	"godwit.example/godwit/load"
)

func TestRoomsOfAnySize(t *testing.T) {
	list, unknown := Named("W7@100,W8,W8-4000@2")
	if unknown != "" || len(list) != 3 {
		t.Fatalf("%d workloads, %q is unknown", len(list), unknown)
	}
	for i, want := range []int{100, members, 2} {
		if n := list[i].Room.Members; n != want {
			t.Errorf("%s has %d members, not %d", list[i].Name, n, want)
		}
	}
	for _, name := range []string{"W7@1", "W7@x", "W1@5", "W7@99999", "W7@"} {
		if _, unknown := Named(name); unknown != name {
			t.Errorf("%s is known", name)
		}
	}
}

// The largest room is found to within a sixteenth, one bad run does not end the
// search, and what bounds the room is said.
func TestLargest(t *testing.T) {
	never := func() bool { return false }
	for _, most := range []int{1, 16, 17, 100, 1000, room.MostMembers + 1} {
		runs := map[int]int{}
		busy := 95.0
		l := largest(func(n int) *Result {
			runs[n]++
			r := &Result{Result: &load.Result{MessagesPerSecond: float64(n)}, Room: &room.Figures{ClientCPU: &busy}}
			if n > most || n == 32 && runs[n] == 1 {
				r.Room.Misses = []string{"too many"}
			}
			return r
		}, never)
		want := min(most, room.MostMembers)
		switch {
		case most < fewestMembers:
			want = 0
		case l.Members > want || l.Members < want-max(want/closeEnough, 1):
			t.Errorf("%d members, not %d", l.Members, want)
		case l.MessagesPerSecond != float64(l.Members):
			t.Errorf("%g messages/s are those of another room", l.MessagesPerSecond)
		}
		if most <= room.MostMembers && (!strings.Contains(l.String(), "too many") || !strings.Contains(l.String(), "a lower bound")) {
			t.Errorf("what bounds it is not in %s", l)
		}
	}
	if l := largest(func(int) *Result { return &Result{Failed: "no server\nat all"} }, never); l.Members != 0 || l.Bound != "no server" {
		t.Errorf("%+v", l)
	}
}
