package congestion

import (
	"testing"

	"godwit.example/godwit/internal/mono"
)

// The matrix shows the controllers on whole links. Limits are loose: they are
// there to notice a controller that broke, the log has the figures.
func TestLinkMatrix(t *testing.T) {
	ms := mono.Millisecond
	for _, tt := range []struct {
		name    string
		link    link
		least   [2]float64 // goodput of Adaptive and NewReno, share of the rate
		maxLost float64    // beyond the link's own loss, share of what Adaptive sent
	}{
		{"clean", link{rate: mbit(50), delay: 10 * ms, buffer: 125_000}, [2]float64{0.95, 0.95}, 0.001},
		{"shallow buffer", link{rate: mbit(50), delay: 10 * ms, buffer: 12_500}, [2]float64{0.70, 0.70}, 0.01},
		{"deep buffer", link{rate: mbit(50), delay: 10 * ms, buffer: 1_000_000}, [2]float64{0.95, 0.95}, 0.001},
		{"loss 0.3 %", link{rate: mbit(50), delay: 10 * ms, buffer: 125_000, loss: 30}, [2]float64{0.50, 0.15}, 0.01},
		{"loss 1 %", link{rate: mbit(50), delay: 10 * ms, buffer: 125_000, loss: 100}, [2]float64{0.15, 0.08}, 0.01},
		{"loss 5 %", link{rate: mbit(50), delay: 10 * ms, buffer: 125_000, loss: 500}, [2]float64{0.04, 0.03}, 0.02},
		{"ack jitter 5 ms", link{rate: mbit(50), delay: 10 * ms, buffer: 125_000, jitter: 5 * ms}, [2]float64{0.90, 0.90}, 0.005},
		{"long and fast", link{rate: mbit(200), delay: 50 * ms, buffer: 500_000}, [2]float64{0.80, 0.50}, 0.02},
		{"slow", link{rate: mbit(1), delay: 50 * ms, buffer: 30_000}, [2]float64{0.95, 0.95}, 0.01},
		{"local", link{rate: mbit(300), delay: mono.Millisecond / 10, buffer: 150_000}, [2]float64{0.95, 0.95}, 0.001},
	} {
		for _, kind := range []Kind{Adaptive, NewReno} {
			l := tt.link
			f := l.join(kind, 0)
			l.run(2 * mono.Second)
			before, sent := f.lostBytes, f.delivered
			got := l.goodput(f, 5*mono.Second)
			lost := float64(f.lostBytes-before) / float64(f.lostBytes-before+f.delivered-sent)
			t.Logf("%-16s %-9v goodput %.3f lost %.4f window %4d datagrams, smoothed RTT %v, %v", tt.name, kind, got, lost, f.c.Window()/testDatagram, f.r.Smoothed, f.c.State())
			if got < tt.least[kind] {
				t.Errorf("%s: %v used %.3f of the link, want %.2f or more", tt.name, kind, got, tt.least[kind])
			}
			if limit := float64(l.loss)/10_000 + tt.maxLost; kind == Adaptive && lost > limit {
				t.Errorf("%s: %v lost %.4f, want %.4f or less", tt.name, kind, lost, limit)
			}
		}
	}
}

func TestFlowsShareALink(t *testing.T) {
	for _, tt := range []struct {
		name  string
		kinds [2]Kind
		least float64 // of the smaller share
	}{
		{"two adaptive", [2]Kind{Adaptive, Adaptive}, 0.25},
		{"adaptive beside newreno", [2]Kind{Adaptive, NewReno}, 0.25},
	} {
		l := link{rate: mbit(50), delay: 10 * mono.Millisecond, buffer: 125_000}
		a := l.join(tt.kinds[0], 0)
		b := l.join(tt.kinds[1], 3*mono.Second)
		l.run(10 * mono.Second)
		before := b.delivered
		share := l.goodput(a, 20*mono.Second)
		other := float64(b.delivered-before) / (float64(l.rate) * 20)
		t.Logf("%s: %.3f and %.3f", tt.name, share, other)
		if min(share, other) < tt.least {
			t.Errorf("%s: shares %.3f and %.3f, want %.2f or more for each", tt.name, share, other, tt.least)
		}
	}
}

func TestAdaptiveFindsNewRoomSoonerThanNewReno(t *testing.T) {
	var got [2]float64
	for _, kind := range []Kind{Adaptive, NewReno} {
		l := link{rate: mbit(10), delay: 10 * mono.Millisecond, buffer: 60_000}
		f := l.join(kind, 0)
		l.run(5 * mono.Second)
		l.rate = mbit(100)
		l.run(mono.Second)
		got[kind] = l.goodput(f, mono.Second/2)
	}
	if got[Adaptive] < 0.7 || got[Adaptive] < 1.2*got[NewReno] {
		t.Errorf("1 s after the link became ten times as fast, adaptive uses %.2f of it and NewReno %.2f", got[Adaptive], got[NewReno])
	}
}

func TestAdaptiveYieldsWhenTheLinkSlows(t *testing.T) {
	l := link{rate: mbit(100), delay: 10 * mono.Millisecond, buffer: 125_000}
	f := l.join(Adaptive, 0)
	l.run(3 * mono.Second)
	l.rate = mbit(10)
	l.run(2 * mono.Second)
	before, sent := f.lostBytes, f.delivered
	l.run(3 * mono.Second)
	lost := float64(f.lostBytes-before) / float64(f.delivered-sent)
	if lost > 0.02 {
		t.Errorf("2 s after the link slowed to a tenth, %.3f is still being lost", lost)
	}
}

func TestApplicationLimitedFlowKeepsASmallWindowAndLosesNothing(t *testing.T) {
	l := link{rate: mbit(50), delay: 10 * mono.Millisecond, buffer: 12_500}
	f := l.join(Adaptive, 0)
	f.limit = 200_000 // 4 kB a round trip, a third of the initial window
	l.run(10 * mono.Second)
	if f.lostBytes != 0 || f.c.Window() != 10*testDatagram {
		t.Errorf("window %d, lost %d: want the initial window and no loss", f.c.Window(), f.lostBytes)
	}
}
