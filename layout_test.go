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
	"godwit.example/godwit/internal/shard"
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

// fieldOf follows a path of fields, through slices and pointers, to types that other packages keep to themselves.
func fieldOf(t reflect.Type, path ...string) reflect.Type {
	for _, name := range path {
		f, ok := t.FieldByName(name)
		if !ok {
			panic(fmt.Sprintf("BUG: %v has no field %s", t, name))
		}
		for t = f.Type; t.Kind() == reflect.Slice || t.Kind() == reflect.Pointer; t = t.Elem() {
		}
	}
	return t
}

// hotLines says in which cache line fields of the hot path begin, for structs that begin with one. A field that moves on purpose moves here
// too; that one was pushed over the edge by another should not happen unseen.
var hotLines = []struct {
	typ   reflect.Type
	lines map[uintptr]string
}{
	{fieldOf(reflect.TypeFor[shard.Shard](), "sparePeers"), map[uintptr]string{
		0:  "conn",
		23: "keys",
		33: "app hs dial",
		34: "held deadline keysDrop coldAt taken packets next gen socket half",
		35: "seats dirty open ended left proven ownSock cold",
	}},
	{reflect.TypeFor[proto.Conn](), map[uintptr]string{
		0:  "sh hs move app", // the packets, and from line 4 on the messages that they carry
		4:  "msgs",
		11: "streams peerStreams creditKept rng",
		12: "rtt",
		13: "cc",
		15: "pace",
		16: "path localID",
		19: "ids peerIdle peerAckDelay peerAckShift peerDatagram state client complete confirmed",
		20: "validated slot bytesInFlight amplify lastReceived lastActive lastEliciting silentSince sentSinceRecv ptoCount probes pingDue",
		21: "ackAsk skipIn largestNonProbe paceBlocked ecn",
		22: "mtu end",
	}},
	{reflect.TypeFor[shard.Slot](), map[uintptr]string{
		0: "word account maxSend want tag groups link record", // what a send touches
		1: "seq endGen remote endCode endInfo",
	}},
}

// lineDifference lists the fields that do not begin in the line they are said to.
func lineDifference(t reflect.Type, lines map[uintptr]string) (found []string) {
	for line, names := range lines {
		for name := range strings.FieldsSeq(names) {
			if f, ok := t.FieldByName(name); !ok || f.Offset/cacheLine != line {
				found = append(found, fmt.Sprintf("%v.%s should be in line %d", t, name, line))
			}
		}
	}
	return found
}

// notApart lists the pairs of fields, one of each group, that may lie in one cache line, wherever the struct begins.
func notApart(t reflect.Type, one, other string) (found []string) {
	for a := range strings.FieldsSeq(one) {
		for b := range strings.FieldsSeq(other) {
			x, okX := t.FieldByName(a)
			y, okY := t.FieldByName(b)
			if y.Offset < x.Offset {
				x, y = y, x
			}
			if !okX || !okY || y.Offset < x.Offset+x.Type.Size()+cacheLine-1 {
				found = append(found, fmt.Sprintf("%v.%s and %s may lie in one cache line", t, a, b))
			}
		}
	}
	return found
}

func TestLayoutKeepsHotFieldsTogether(t *testing.T) {
	for _, h := range hotLines {
		differences := lineDifference(h.typ, h.lines)
		for _, difference := range differences {
			t.Error(difference)
		}
		if differences != nil {
			t.Log(describeLayout(h.typ))
		}
	}
}

func TestLayoutKeepsCoresApart(t *testing.T) {
	// What the shard's goroutine writes for each datagram, and what senders, other shards and readers of figures write.
	own, others := "counters now live used backlog seats wheel rng", "published posted stopped mu goroutine control refused foreign dropped"
	for _, pair := range notApart(reflect.TypeFor[shard.Shard](), own, others) {
		t.Error(pair)
	}
	// These lie side by side in arrays, each for another connection or another core.
	for _, typ := range []reflect.Type{reflect.TypeFor[shard.Slot](), fieldOf(reflect.TypeFor[shard.Group](), "parts")} {
		if typ.Size()%cacheLine != 0 {
			t.Errorf("%v has %d bytes: the next one shares a cache line with it", typ, typ.Size())
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
	if got := lineDifference(reflect.TypeFor[[2]outer]().Elem(), map[uintptr]string{0: "Flag Times List", 1: "Seen gone"}); len(got) != 2 {
		t.Errorf("a field in another line and one that is gone: %q", got)
	}
	type counts struct {
		Mine [4]uint64
		_    [cacheLine]byte
		Next uint64
		Last uint64
	}
	if got := notApart(reflect.TypeFor[counts](), "Mine Next", "Last"); len(got) != 1 || !strings.Contains(got[0], "Next and Last") {
		t.Errorf("two fields side by side: %q", got)
	}
}
