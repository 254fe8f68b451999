package load

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

func TestFramesSurviveAnyCutting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		messages := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 0, 200), 0, 50).Draw(t, "messages")
		var stream []byte
		for _, m := range messages {
			stream = appendFrame(stream, m)
		}
		var f frames
		var got [][]byte
		for len(stream) > 0 {
			n := copy(f.room(), stream[:rapid.IntRange(1, len(stream)).Draw(t, "read")])
			f.grow(n)
			stream = stream[n:]
			for m := f.next(); m != nil; m = f.next() {
				got = append(got, bytes.Clone(m))
			}
		}
		if len(got) != len(messages) {
			t.Fatalf("%d messages of %d", len(got), len(messages))
		}
		for i := range got {
			if !bytes.Equal(got[i], messages[i]) {
				t.Fatalf("message %d changed", i)
			}
		}
	})
}
