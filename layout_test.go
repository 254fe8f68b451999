package godwit_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"godwit.example/godwit/internal/congestion"
	"godwit.example/godwit/internal/protect"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/wire"
)

// cacheLine is the size of a line on the machines the engine is tuned for.
const cacheLine = 64

// A fieldLayout is where one field of a struct lies; fields of embedded structs and arrays are not taken apart.
type fieldLayout struct {
	name         string
	offset, size uintptr
}

// layoutOf lists the fields of a struct type in the order of their offsets.
func layoutOf(t reflect.Type) []fieldLayout {
	var fields []fieldLayout
	for i := range t.NumField() {
		f := t.Field(i)
		fields = append(fields, fieldLayout{f.Name, f.Offset, f.Type.Size()})
	}
	return fields
}

// describeLayout prints a struct with the cache line of each field and the padding between fields.
func describeLayout(t reflect.Type) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v: %d bytes, %d cache lines\n", t, t.Size(), (t.Size()+cacheLine-1)/cacheLine)
	end := uintptr(0)
	for _, f := range layoutOf(t) {
		if f.offset > end {
			fmt.Fprintf(&b, "  %5d  %d bytes of padding\n", end, f.offset-end)
		}
		fmt.Fprintf(&b, "  %5d  line %-3d %6d  %s\n", f.offset, f.offset/cacheLine, f.size, f.name)
		end = f.offset + f.size
	}
	if t.Size() > end {
		fmt.Fprintf(&b, "  %5d  %d bytes of padding\n", end, t.Size()-end)
	}
	return b.String()
}

// pointerFields lists the paths of all fields that the collector has to follow. Where a type has none, a slab of its values costs the
// collector nothing, however many there are.
func pointerFields(t reflect.Type) []string {
	switch t.Kind() {
	case reflect.Struct:
		var found []string
		for i := range t.NumField() {
			f := t.Field(i)
			for _, p := range pointerFields(f.Type) {
				found = append(found, strings.TrimSuffix(f.Name+"."+p, "."))
			}
		}
		return found
	case reflect.Array:
		if t.Len() == 0 {
			return nil
		}
		return pointerFields(t.Elem())
	case reflect.Pointer, reflect.UnsafePointer, reflect.Slice, reflect.String, reflect.Map, reflect.Func, reflect.Interface, reflect.Chan:
		return []string{""}
	}
	return nil
}

// pointerDifference compares the pointer fields of a type with the list of those that are allowed, in both directions, so that the
// list stays true.
func pointerDifference(t reflect.Type, allowed []string) []string {
	var found []string
	have := pointerFields(t)
	for _, p := range have {
		if !slices.Contains(allowed, p) {
			found = append(found, fmt.Sprintf("%v.%s is a pointer that the list does not allow", t, p))
		}
	}
	for _, p := range allowed {
		if !slices.Contains(have, p) {
			found = append(found, fmt.Sprintf("%v.%s is on the list of pointers and is none", t, p))
		}
	}
	return found
}

// hotTypes are the structs that exist once per connection, packet or message. Their size is memory and cache lines of every one of them;
// their pointers are what the collector follows in each.
var hotTypes = []struct {
	typ      reflect.Type
	maxSize  uintptr
	pointers []string
}{
	{reflect.TypeFor[proto.Conn](), 1536, []string{
		"sh", "hs", "move", "streams", "app.sent.packets.buf", "app.sent.records.buf", "app.recv.ranges", "msgs.sh", "msgs.chans", "msgs.index", "msgs.levels",
		"msgs.peerListed", "msgs.frags", "msgs.reasm", "peer.spare", "peer.retire", "ids.issued", "end.reason",
	}},
	{reflect.TypeFor[protect.Keys](), 640, []string{
		"long", "ahead", "before", "app.read.aead", "app.read.header", "app.write.aead", "app.write.header",
	}},
	{reflect.TypeFor[congestion.Controller](), 192, nil},
	{reflect.TypeFor[congestion.RTT](), 80, nil},
	{reflect.TypeFor[congestion.Pacer](), 64, nil},
	{reflect.TypeFor[wire.Outgoing](), 32, nil},
}

func TestLayoutOfHotTypes(t *testing.T) {
	for _, h := range hotTypes {
		t.Log(describeLayout(h.typ))
		t.Logf("pointers: %q", pointerFields(h.typ))
		if h.typ.Size() > h.maxSize {
			t.Errorf("%v has %d bytes, more than %d", h.typ, h.typ.Size(), h.maxSize)
		}
		for _, difference := range pointerDifference(h.typ, h.pointers) {
			t.Error(difference)
		}
	}
}

func TestLayoutChecksCanFail(t *testing.T) {
	type inner struct {
		N    int64
		Name string
	}
	type outer struct {
		Flag  bool
		Times [4]int64
		In    inner
		List  [2]inner
		Next  *outer
		Seen  func()
		None  [0]*int
	}
	typ := reflect.TypeFor[outer]()
	want := []string{"In.Name", "List.Name", "Next", "Seen"}
	if got := pointerFields(typ); !slices.Equal(got, want) {
		t.Errorf("pointer fields %q, want %q", got, want)
	}
	if got := pointerDifference(typ, want[:3]); len(got) != 1 || !strings.Contains(got[0], "Seen") {
		t.Errorf("a pointer missing from the list: %q", got)
	}
	if got := pointerDifference(typ, append(want, "gone")); len(got) != 1 || !strings.Contains(got[0], "gone") {
		t.Errorf("a pointer only on the list: %q", got)
	}
	fields := layoutOf(typ)
	if fields[1].offset != 8 || fields[1].size != 32 || !strings.Contains(describeLayout(typ), "7 bytes of padding") {
		t.Errorf("layout of the example:\n%s", describeLayout(typ))
	}
}
