//go:build unix && !race && !purego && !godwitdebug

package shard

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit.example/godwit/internal/mono/entropy"
	"godwit.example/godwit/internal/proto"
	"godwit.example/godwit/internal/udp"
)

const (
	ratioFile      = "testdata/ratio.json"
	ratioTolerance = 0.20
	worthRecording = 0.10
	gatePairs      = 101
	fewPairs       = 15
	turnMessages   = 6400 // of a turn, about a millisecond: all that W3 has outstanding
	turnsPerPair   = 4
)

// TestTimeRatio compares the time of the server's part of workload W3, without the kernel, with that of a reference in the same process: the AEAD and
// header protection calls, and copies of the payloads, that the same messages cannot do without. They take turns of a millisecond, because a
// virtual CPU changes its speed from one moment to the next; each pair of four turns gives a ratio. The median must not be more than 20 % above the one that testdata/ratio.json has for this kind of CPU: it fails if all of its 95 % interval is.
// Times are those of the thread, which neither other processes nor a hypervisor distort much. It judges where nothing runs beside it, with
// GODWIT_GATE=1, as the stage gate of make test does; otherwise it measures briefly. With -update it records.
func TestTimeRatio(t *testing.T) {
	pairs := fewPairs
	judges := os.Getenv("GODWIT_GATE") != ""
	if judges || *update {
		pairs = gatePairs
	}
	family, recorded := cpuFamily(), map[string]float64{}
	if b, err := os.ReadFile(ratioFile); err == nil {
		if err := json.Unmarshal(b, &recorded); err != nil {
			t.Fatal(err)
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if *update {
		record(t, recorded, family, newRatio(t, nil).measure(pairs))
		return
	}
	got := newRatio(t, nil).measure(pairs)
	want := recorded[family]
	said := fmt.Sprintf("gate: W3 at the server takes %v times the reference", got)
	switch {
	case want == 0:
		said += fmt.Sprintf("; not judged: %s has none for %q", ratioFile, family)
	case !judges:
		said += fmt.Sprintf("; recorded is %.3f; not judged without GODWIT_GATE=1", want)
	case got.exceeds(want):
		got = newRatio(t, nil).measure(pairs) // a neighbour of the first one may be gone
		said = fmt.Sprintf("gate: W3 at the server takes %v times the reference; recorded is %.3f for %s", got, want, family)
		if got.exceeds(want) {
			t.Errorf("more than %.0f %% above the recorded ratio, twice. If that is meant, run\n"+
				"\tgo test ./internal/shard -run TestTimeRatio -update\non a quiet machine, and explain it in the commit.", 100*ratioTolerance)
		}
	default:
		said += fmt.Sprintf("; recorded is %.3f for %s", want, family)
		if got.high < want*(1-worthRecording) {
			said += "; it has become faster: record that with -update, or the gate will not notice when it is lost"
		}
	}
	fmt.Println(said)
}

// TestTimeRatioCanFail has the handler waste as much as is noticed beside other processes too.
func TestTimeRatioCanFail(t *testing.T) {
	without := newRatio(t, nil).measure(fewPairs)
	with := newRatio(t, func(payload []byte) {
		digest := sha256.Sum256(payload)
		sha256.Sum256(digest[:])
	}).measure(fewPairs)
	t.Logf("%v without, %v with two digests of each message", without, with)
	if !with.exceeds(without.median) {
		t.Errorf("two digests of each message take the ratio from %v to %v, and would pass", without, with)
	}
	for _, c := range []struct {
		low  float64
		fail bool
	}{{0.9, false}, {1.19, false}, {1.21, true}} {
		if (interval{low: 3 * c.low}).exceeds(3) != c.fail {
			t.Errorf("an interval that begins at %.2f of what is recorded is judged wrongly", c.low)
		}
	}
}

func record(t *testing.T, recorded map[string]float64, family string, got interval) {
	if family == "" {
		t.Fatal("nobody says what kind of CPU this is")
	}
	recorded[family] = math.Round(got.median*1000) / 1000
	b, err := json.MarshalIndent(recorded, "", "\t")
	if err == nil {
		err = os.WriteFile(ratioFile, append(b, '\n'), 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("recorded %v", got)
}

// cpuFamily names the kind of CPU whose ratios can be compared; it is empty where nobody says.
func cpuFamily() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	first, _, _ := strings.Cut(string(text), "\n\n")
	var parts []string
	for _, name := range []string{"vendor_id", "cpu family", "model", "CPU implementer", "CPU part"} {
		for line := range strings.Lines(first) {
			if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
				parts = append(parts, strings.TrimSpace(strings.TrimPrefix(name, "vendor_id")+" "+strings.TrimSpace(value)))
			}
		}
	}
	if parts == nil {
		return ""
	}
	return runtime.GOARCH + ", " + strings.Join(parts, ", ")
}

// An interval is a median and its 95 % interval.
type interval struct{ median, low, high float64 }

func (i interval) String() string { return fmt.Sprintf("%.3f (%.3f to %.3f)", i.median, i.low, i.high) }

// exceeds reports whether all of the interval is too far above what is recorded.
func (i interval) exceeds(recorded float64) bool { return i.low > recorded*(1+ratioTolerance) }

// bootstrap returns the median of the ratios, and of medians of a thousand samples of them all but the outer twentieth.
func bootstrap(ratios []float64) interval {
	dice := entropy.New([32]byte{3})
	sample, medians := make([]float64, len(ratios)), make([]float64, 1000)
	for i := range medians {
		for j := range sample {
			sample[j] = ratios[dice.Uint64n(uint64(len(ratios)))]
		}
		medians[i] = middle(sample)
	}
	slices.Sort(medians)
	return interval{middle(ratios), medians[25], medians[974]}
}

// middle sorts and returns the median.
func middle(x []float64) float64 {
	slices.Sort(x)
	return (x[(len(x)-1)/2] + x[len(x)/2]) / 2
}

// A ratio measures.
type ratio struct {
	w      *world
	echoed *int
	kernel *timedSocket
	ref    reference
}

// timedSocket notes what is not the shard's time.
type timedSocket struct {
	Socket
	spent time.Duration
}

func (s *timedSocket) Read(b *udp.ReadBatch) int {
	start := threadTime()
	n := s.Socket.Read(b)
	s.spent += threadTime() - start
	return n
}

func (s *timedSocket) Write(b *udp.WriteBatch) (int, bool) {
	start := threadTime()
	n, blocked := s.Socket.Write(b)
	s.spent += threadTime() - start
	return n, blocked
}

// newRatio connects everybody and lets the queues grow to what they need. The handler wastes, if it is told to.
func newRatio(t *testing.T, waste func(payload []byte)) *ratio {
	r := new(ratio)
	r.w, r.echoed = echoWorld(t, 100, 64, 64)
	r.kernel = &timedSocket{Socket: r.w.server.socket}
	r.w.server.socket = r.kernel
	if waste != nil {
		echo := r.w.sapp.message
		r.w.sapp.message = func(s *Shard, ref Ref, ev *proto.Event) bool {
			waste(ev.Payload)
			return echo(s, ref, ev)
		}
	}
	for range 100 {
		r.w.round()
	}
	r.ref = newReference()
	return r
}

// measure lets both take turns.
func (r *ratio) measure(pairs int) interval {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var ratios []float64
	for i := range pairs {
		var shard, ref time.Duration
		if i%2 == 0 {
			ref = r.ref.turn()
		}
		for n := range turnsPerPair {
			shard += r.turn()
			if i%2 != 0 || n > 0 {
				ref += r.ref.turn()
			}
		}
		ratios = append(ratios, float64(shard)/float64(ref))
	}
	return bootstrap(ratios)
}

// turn returns what so many messages take the server, without its socket.
func (r *ratio) turn() (spent time.Duration) {
	kernel := r.kernel.spent
	for until := *r.echoed + turnMessages; *r.echoed < until; {
		spent += r.w.round()
	}
	return spent - (r.kernel.spent - kernel)
}

// A reference is what the messages of a turn cannot do without: as many AEAD calls over as many bytes, and as many copies.
type reference struct {
	aead    cipher.AEAD
	header  cipher.Block
	nonce   [12]byte
	mask    [16]byte
	packets [][]byte
	mail    []byte
	built   []byte
}

const (
	refMessages = 16 // in a packet, as W3 has it: see TestCounts
	refPackets  = turnMessages / refMessages
	refPayload  = 1068 // bytes sealed in each
)

func newReference() reference {
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		panic(err)
	}
	r := reference{header: block, mail: make([]byte, 64*turnMessages), built: make([]byte, 64*turnMessages)}
	if r.aead, err = cipher.NewGCM(block); err != nil {
		panic(err)
	}
	for range refPackets {
		r.packets = append(r.packets, make([]byte, 10+refPayload+16))
	}
	return r
}

// turn seals and opens a turn's packets, and copies its payloads twice: for the sender, and into a packet.
func (r *reference) turn() time.Duration {
	start := threadTime()
	for i, p := range r.packets {
		head, body := p[:10], p[10:10+refPayload]
		r.nonce[0]++
		r.aead.Seal(body[:0], r.nonce[:], body, head)
		r.header.Encrypt(r.mask[:], body[4:20])
		r.header.Encrypt(r.mask[:], body[20:36])
		if _, err := r.aead.Open(body[:0], r.nonce[:], p[10:], head); err != nil {
			panic(err)
		}
		first := i * refMessages * 64
		for m := first; m < first+refMessages*64; m += 64 {
			copy(r.mail[m:m+64], body[m-first:])
		}
		for m := first; m < first+refMessages*64; m += 64 {
			copy(r.built[m:m+64], r.mail[m:m+64])
		}
	}
	return threadTime() - start
}
