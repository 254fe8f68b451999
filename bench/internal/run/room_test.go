package run

import "testing"

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
