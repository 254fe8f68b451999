package impair

import (
	"math"
	"slices"
	"testing"

	"godwit.example/godwit/internal/mono"
	"pgregory.net/rapid"
)

const ms = mono.Millisecond

// run sends n datagrams of size bytes, one each gap, and returns their
// verdicts.
func run(l *Link, n, size int, gap mono.Duration) [][]Verdict {
	now := mono.Time(mono.Second)
	out := make([][]Verdict, n)
	for i := range out {
		out[i] = l.Send(now, size, nil)
		now = now.Add(gap)
	}
	return out
}

func sentAt(i int, gap mono.Duration) mono.Time {
	return mono.Time(mono.Second).Add(mono.Duration(i) * gap)
}

func lostOnes(verdicts [][]Verdict) (lost []int) {
	for i, v := range verdicts {
		if len(v) == 0 {
			lost = append(lost, i)
		}
	}
	return lost
}

func wantAbout(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance*want {
		t.Errorf("%s: %v, want about %v", what, got, want)
	}
}

func TestAPerfectLinkDeliversAtOnce(t *testing.T) {
	l := New(Config{}, [32]byte{})
	for i, v := range run(l, 100, 1200, ms) {
		if !slices.Equal(v, []Verdict{{sentAt(i, ms), -1}}) {
			t.Fatalf("datagram %d: %v", i, v)
		}
	}
	if s := l.Stats(); s != (Stats{Sent: 100, SentBytes: 120_000, Arrived: 100}) {
		t.Errorf("counters are %+v", s)
	}
}

func TestSendAppendsToItsArgument(t *testing.T) {
	l := New(Config{}, [32]byte{})
	got := l.Send(7, 1, []Verdict{{At: 3}})
	if len(got) != 2 || got[0].At != 3 || got[1].At != 7 {
		t.Errorf("verdicts are %v", got)
	}
}

func TestDelayAndJitterKeepTheOrder(t *testing.T) {
	l := New(Config{Delay: 10 * ms, Jitter: 5 * ms}, [32]byte{1})
	last, sum := mono.Time(0), 0.0
	const n = 5000
	for i, v := range run(l, n, 100, 10*ms) {
		d := v[0].At.Sub(sentAt(i, 10*ms))
		if len(v) != 1 || d < 10*ms || d > 15*ms || v[0].At < last {
			t.Fatalf("datagram %d took %v", i, d)
		}
		last = v[0].At
		sum += float64(d)
	}
	wantAbout(t, "mean delay", sum/n, float64(12500*mono.Microsecond), 0.01)

	last = 0
	for i, v := range run(New(Config{Jitter: 50 * ms}, [32]byte{2}), n, 100, ms) {
		if v[0].At < last {
			t.Fatalf("datagram %d overtook another", i)
		}
		last = v[0].At
	}
}

func TestLossHasItsRateAndCountsItself(t *testing.T) {
	for _, p := range []float64{0.001, 0.01, 0.05, 0.5} {
		l := New(Config{Loss: p}, [32]byte{3})
		const n = 200_000
		lost := lostOnes(run(l, n, 100, ms))
		wantAbout(t, "loss", float64(len(lost))/n, p, 0.15)
		if s := l.Stats(); s.Lost != uint64(len(lost)) || s.Arrived != n-s.Lost {
			t.Errorf("%d lost, counters are %+v", len(lost), s)
		}
	}
	if lost := lostOnes(run(New(Config{Loss: 2}, [32]byte{}), 100, 100, ms)); len(lost) != 100 {
		t.Errorf("%d of 100 lost at a probability of 2", len(lost))
	}
	if lost := lostOnes(run(New(Config{Loss: math.NaN()}, [32]byte{}), 100, 100, ms)); len(lost) != 0 {
		t.Errorf("%d of 100 lost at a probability that is no number", len(lost))
	}
}

func TestBurstsHaveTheirRateAndLength(t *testing.T) {
	for _, c := range []struct{ loss, length, asked float64 }{{0.01, 4, 4}, {0.05, 10, 10}, {0.3, 2, 2}, {0.8, 4, 1}} {
		l := New(Config{Burst: Bursts(c.loss, c.asked)}, [32]byte{4})
		const n = 400_000
		lost := lostOnes(run(l, n, 100, ms))
		bursts := 0
		for i, at := range lost {
			if i == 0 || lost[i-1] != at-1 {
				bursts++
			}
		}
		wantAbout(t, "loss", float64(len(lost))/n, c.loss, 0.1)
		wantAbout(t, "burst length", float64(len(lost))/float64(bursts), c.length, 0.1)
		if s := l.Stats(); s.BurstLost != uint64(len(lost)) || s.Lost != 0 {
			t.Errorf("counters are %+v", s)
		}
	}
	if Bursts(0, 5) != (GilbertElliott{}) {
		t.Error("bursts that lose nothing are not the zero value")
	}
}

func TestTheLossesDependOnTheSeedAndTheRateOnly(t *testing.T) {
	base := Config{Loss: 0.05, Burst: Bursts(0.02, 3)}
	want := lostOnes(run(New(base, [32]byte{5}), 5000, 100, ms))
	rich := base
	rich.Delay, rich.Jitter, rich.Reorder, rich.ReorderDelay = 20*ms, 5*ms, 0.1, 50*ms
	rich.Duplicate, rich.Copies, rich.Corrupt, rich.Rate = 0.2, 5, 0.1, 10_000_000
	if got := lostOnes(run(New(rich, [32]byte{5}), 5000, 1200, 2*ms)); !slices.Equal(got, want) {
		t.Error("jitter, reordering, duplicates, or sizes changed which datagrams are lost")
	}
	if got := lostOnes(run(New(base, [32]byte{6}), 5000, 100, ms)); slices.Equal(got, want) {
		t.Error("another seed loses the same datagrams")
	}
	// More loss takes more datagrams, never others.
	worse := base
	worse.Loss = 0.1
	more := lostOnes(run(New(worse, [32]byte{5}), 5000, 100, ms))
	for _, i := range want {
		if !slices.Contains(more, i) {
			t.Fatalf("datagram %d is lost at 5 %% and not at 10 %%", i)
		}
	}
}

func TestReorderedDatagramsAreOvertaken(t *testing.T) {
	l := New(Config{Delay: 10 * ms, Reorder: 0.1, ReorderDelay: 20 * ms}, [32]byte{7})
	const n = 20_000
	late := 0
	for i, v := range run(l, n, 100, ms) {
		d := v[0].At.Sub(sentAt(i, ms))
		if d < 10*ms || d > 30*ms {
			t.Fatalf("datagram %d took %v", i, d)
		}
		if d > 10*ms {
			late++
		}
	}
	wantAbout(t, "reordered", float64(late)/n, 0.1, 0.1)
	if s := l.Stats(); int(s.Reordered) < late || int(s.Reordered) > late+2 {
		t.Errorf("%d late, counters are %+v", late, s)
	}
}

func TestDuplicatesComeInTheNumberAskedFor(t *testing.T) {
	for _, c := range []struct {
		copies int
		most   int
	}{{0, 2}, {1, 2}, {4, 5}, {100, MaxCopies + 1}} {
		l := New(Config{Duplicate: 0.3, Copies: c.copies, Jitter: ms}, [32]byte{8})
		const n = 10_000
		doubled, most, extra := 0, 0, 0
		for i, v := range run(l, n, 100, ms) {
			if len(v) > 1 {
				doubled++
			}
			most = max(most, len(v))
			extra += len(v) - 1
			for _, copied := range v[1:] {
				if copied.At < v[0].At || copied.At > v[0].At.Add(ms) {
					t.Fatalf("a copy of datagram %d comes at %v, the first at %v", i, copied.At, v[0].At)
				}
			}
		}
		wantAbout(t, "duplicated", float64(doubled)/n, 0.3, 0.1)
		if most != c.most || l.Stats().Duplicated != uint64(extra) {
			t.Errorf("up to %d copies, want %d; counters are %+v", most, c.most, l.Stats())
		}
	}
}

func TestCorruptionNamesABitOfTheDatagram(t *testing.T) {
	l := New(Config{Corrupt: 0.2, Duplicate: 0.5}, [32]byte{9})
	var seen [80]int
	corrupted, differently := 0, 0
	for _, v := range run(l, 20_000, 10, ms) {
		for _, copied := range v {
			if copied.CorruptBit >= 0 {
				corrupted++
				seen[copied.CorruptBit]++
			}
		}
		if len(v) == 2 && v[0].CorruptBit != v[1].CorruptBit {
			differently++
		}
	}
	wantAbout(t, "corrupted", float64(corrupted)/30_000, 0.2, 0.1)
	if slices.Contains(seen[:], 0) || differently == 0 || l.Stats().Corrupted != uint64(corrupted) {
		t.Errorf("bits hit: %v; copies that differ: %d; counters: %+v", seen, differently, l.Stats())
	}
	if v := New(Config{Corrupt: 1}, [32]byte{}).Send(0, 0, nil); len(v) != 1 || v[0].CorruptBit != -1 {
		t.Errorf("an empty datagram was corrupted: %v", v)
	}
}

func TestTheBottleneckPassesItsRate(t *testing.T) {
	// Twice the capacity is offered for ten seconds; the rate divides badly.
	l := New(Config{Rate: 999_983, Queue: 50_000}, [32]byte{10})
	const size = 1000
	bytes, last := 0, mono.Time(0)
	for i, v := range run(l, 20_000, size, 500*mono.Microsecond) {
		if len(v) == 0 {
			continue
		}
		if wait := v[0].At.Sub(sentAt(i, 500*mono.Microsecond)); wait > 51*ms {
			t.Fatalf("datagram %d waited %v in a queue of 50 ms", i, wait)
		}
		if gap := v[0].At.Sub(last); i > 0 && gap < 1000*mono.Microsecond {
			t.Fatalf("datagram %d leaves %v after the one before", i, gap)
		}
		bytes += size
		last = v[0].At
	}
	rate := float64(bytes) / last.Sub(mono.Time(mono.Second)).Seconds()
	wantAbout(t, "throughput", rate, 999_983, 0.0001)
	if s := l.Stats(); s.QueueDropped == 0 || s.QueueDropped+s.Arrived != s.Sent {
		t.Errorf("counters are %+v", s)
	}
}

func TestAnIdleBottleneckTakesADatagramLargerThanItsQueue(t *testing.T) {
	l := New(Config{Rate: 1000, Queue: 500}, [32]byte{})
	if v := l.Send(0, 1000, nil); len(v) != 1 || v[0].At != mono.Time(mono.Second) {
		t.Errorf("verdicts are %v", v)
	}
	if v := l.Send(0, 100, nil); len(v) != 0 {
		t.Error("the queue is full and another datagram was taken")
	}
	if v := l.Send(mono.Time(900*ms), 400, nil); len(v) != 1 || v[0].At != mono.Time(1400*ms) {
		t.Errorf("100 bytes wait, 400 fit: %v", v)
	}
}

func TestWithoutAQueueLimitNothingIsDropped(t *testing.T) {
	l := New(Config{Rate: 1000}, [32]byte{})
	for i := range 1000 {
		if v := l.Send(0, 1000, nil); len(v) != 1 || v[0].At != mono.Time(i+1)*mono.Time(mono.Second) {
			t.Fatalf("datagram %d: %v", i, v)
		}
	}
}

func TestBlackoutsAndLargeDatagramsTakeEverything(t *testing.T) {
	l := New(Config{
		MTU:       1400,
		Blackouts: []Blackout{{mono.Time(1100 * ms), mono.Time(1200 * ms)}, {mono.Time(1500 * ms), mono.Never}},
	}, [32]byte{})
	for i, v := range run(l, 1000, 1400, ms) {
		dark := i >= 100 && i < 200 || i >= 500
		if (len(v) == 0) != dark {
			t.Fatalf("datagram %d: %v", i, v)
		}
	}
	if v := l.Send(0, 1401, nil); len(v) != 0 {
		t.Error("a datagram larger than the MTU passed")
	}
	if s := l.Stats(); s.BlackedOut != 600 || s.TooLarge != 1 || s.Arrived != 400 {
		t.Errorf("counters are %+v", s)
	}
}

func TestANewConfigurationHoldsFromTheNextDatagramOn(t *testing.T) {
	l := New(Config{Delay: 100 * ms, Loss: -1, Rate: -1, Queue: -1}, [32]byte{})
	if v := l.Send(0, 10, nil); len(v) != 1 || v[0].At != mono.Time(100*ms) {
		t.Fatalf("verdicts are %v", v)
	}
	l.SetConfig(Config{Delay: 10 * ms})
	if v := l.Send(mono.Time(ms), 10, nil); v[0].At != mono.Time(100*ms) {
		t.Errorf("a datagram overtook those under way: %v", v)
	}
	if v := l.Send(mono.Time(200*ms), 10, nil); v[0].At != mono.Time(210*ms) {
		t.Errorf("the new delay does not hold: %v", v)
	}
	l.SetConfig(Config{Loss: 1})
	if v := l.Send(mono.Time(300*ms), 10, nil); len(v) != 0 {
		t.Errorf("the new loss does not hold: %v", v)
	}
}

// Whatever the configuration, two links of one seed agree, and what arrives
// is consistent with the counters.
func TestTheSameSeedGivesTheSameVerdicts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		share := rapid.Float64Range(-0.5, 1.5)
		span := rapid.Custom(func(t *rapid.T) mono.Duration {
			return mono.Duration(rapid.Int64Range(-1000, 1<<33).Draw(t, "ns"))
		})
		config := rapid.Custom(func(t *rapid.T) Config {
			return Config{
				Delay: span.Draw(t, "delay"), Jitter: span.Draw(t, "jitter"),
				Loss:    share.Draw(t, "loss"),
				Burst:   GilbertElliott{share.Draw(t, "to bad"), share.Draw(t, "to good"), share.Draw(t, "loss good"), share.Draw(t, "loss bad")},
				Reorder: share.Draw(t, "reorder"), ReorderDelay: span.Draw(t, "detour"),
				Duplicate: share.Draw(t, "duplicate"), Copies: rapid.IntRange(-1, 20).Draw(t, "copies"),
				Corrupt: share.Draw(t, "corrupt"),
				Rate:    rapid.Int64Range(-1, 1<<40).Draw(t, "rate"), Queue: rapid.Int64Range(-1, 1<<40).Draw(t, "queue"),
				MTU: rapid.IntRange(-1, 2000).Draw(t, "MTU"),
			}
		})
		var seed [32]byte
		seed[0] = rapid.Byte().Draw(t, "seed")
		cfg := config.Draw(t, "config")
		a, b := New(cfg, seed), New(cfg, seed)
		now := mono.Time(0)
		arrived := 0
		for range rapid.IntRange(1, 60).Draw(t, "datagrams") {
			if rapid.IntRange(0, 20).Draw(t, "change") == 0 {
				cfg = config.Draw(t, "config")
				a.SetConfig(cfg)
				b.SetConfig(cfg)
			}
			now = now.Add(mono.Duration(rapid.Int64Range(0, 1<<30).Draw(t, "gap")))
			size := rapid.IntRange(0, 65536).Draw(t, "size")
			va, vb := a.Send(now, size, nil), b.Send(now, size, nil)
			if !slices.Equal(va, vb) {
				t.Fatalf("verdicts differ: %v and %v", va, vb)
			}
			for _, v := range va {
				if v.At < now || v.CorruptBit < -1 || v.CorruptBit >= max(size*8, 1) {
					t.Fatalf("impossible verdict %+v at %d on %d bytes", v, now, size)
				}
			}
			arrived += len(va)
		}
		s := a.Stats()
		drops := s.Lost + s.BurstLost + s.QueueDropped + s.BlackedOut + s.TooLarge
		if s != b.Stats() || s.Arrived != uint64(arrived) || s.Sent-drops != s.Arrived-s.Duplicated {
			t.Fatalf("%d arrived, counters are %+v", arrived, s)
		}
	})
}

func TestSendDoesNotAllocate(t *testing.T) {
	l := New(Config{Delay: ms, Jitter: ms, Loss: 0.1, Duplicate: 0.1, Corrupt: 0.1, Burst: Bursts(0.1, 3), Rate: 1 << 20, Queue: 1 << 16}, [32]byte{})
	verdicts := make([]Verdict, 0, MaxCopies+1)
	now := mono.Time(0)
	if n := testing.AllocsPerRun(1000, func() {
		verdicts = l.Send(now, 1200, verdicts[:0])
		now = now.Add(ms)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkSend(b *testing.B) {
	l := New(Config{Delay: 10 * ms, Jitter: ms, Loss: 0.01, Reorder: 0.01, ReorderDelay: ms, Duplicate: 0.01}, [32]byte{})
	verdicts := make([]Verdict, 0, MaxCopies+1)
	now := mono.Time(0)
	for b.Loop() {
		verdicts = l.Send(now, 1200, verdicts[:0])
		now += 1000
	}
}

func TestTheQueueIsBoundedInDatagrams(t *testing.T) {
	// One millisecond each: of ten that come at once, one is sent and three wait.
	l := New(Config{Rate: 100_000, QueueDatagrams: 4}, [32]byte{})
	passed := 0
	for _, v := range run(l, 10, 100, 0) {
		passed += len(v)
	}
	if s := l.Stats(); passed != 4 || s.QueueDropped != 6 || s.QueueMost != 400 {
		t.Fatalf("%d passed, counters are %+v", passed, s)
	}
	// One leaves each millisecond, so that one more fits.
	now := mono.Time(mono.Second)
	for i := range 10 {
		now = now.Add(ms)
		if v := l.Send(now, 100, nil); len(v) != 1 || v[0].At != now.Add(4*ms) {
			t.Fatalf("datagram %d: %v at %v", i, v, now)
		}
		if v := l.Send(now, 1, nil); len(v) != 0 {
			t.Fatalf("a datagram more than the queue holds passed")
		}
	}
	l.SetConfig(Config{Rate: 100_000, QueueDatagrams: 1 << 40})
	if len(l.ends) != MaxQueueDatagrams {
		t.Errorf("a queue of %d datagrams", len(l.ends))
	}
}

func TestTheLongestQueueIsCounted(t *testing.T) {
	l := New(Config{Rate: 1_000_000}, [32]byte{})
	run(l, 50, 1000, ms/2)
	if got := l.Stats().QueueMost; got < 25_000 || got > 26_000 {
		t.Errorf("50 datagrams of 1,000 bytes at twice the rate made a queue of %d bytes", got)
	}
}

func TestParametersOutOfRangeAreNamed(t *testing.T) {
	good := Params{Delay: MaxDelay, Loss: 1, Burst: 1, BurstLength: 3, Rate: 1, Queue: 1, QueueDatagrams: 1, MTU: 1}
	if name, _, _ := good.Check(); name != "" {
		t.Errorf("%s is refused", name)
	}
	for want, p := range map[string]Params{
		"Loss": {Loss: 1.1}, "Burst": {Burst: -1}, "BurstLength": {BurstLength: math.NaN()}, "Reorder": {Reorder: math.NaN()},
		"Duplicate": {Duplicate: 2}, "Corrupt": {Corrupt: -1}, "Delay": {Delay: MaxDelay + 1}, "Jitter": {Jitter: -1},
		"ReorderDelay": {ReorderDelay: -1}, "Rate": {Rate: -1}, "Queue": {Queue: -1}, "QueueDatagrams": {QueueDatagrams: MaxQueueDatagrams + 1},
		"MTU": {MTU: -1},
	} {
		if name, _, must := p.Check(); name != want || must == "" {
			t.Errorf("%+v: %s must be %s", p, name, must)
		}
	}
}
