package metric

import "godwit.example/godwit/internal/mono"

// SamplePeriod is how often the owner of a Window samples.
const SamplePeriod = 100 * mono.Millisecond

const (
	fineLen   = 16 // periods of 100 ms, for the rate over one second
	coarseLen = 64 // seconds, for the rates over ten and sixty
	perSecond = int64(mono.Second / SamplePeriod)

	// lag is how old an awake owner's published copy may be. What a reader
	// misses beyond that, the owner slept through.
	lag = mono.Time(2 * SamplePeriod)
)

// A Window turns a running total into rates over the last 1, 10 and 60
// seconds. Its owner samples after each 100 ms in which it ran; one that
// sleeps longer need not wake up for it, since the total stood still
// meanwhile. It takes less than 700 bytes. The zero value is ready; it begins
// with its first sample. A Window is not safe for concurrent use; readers work
// on a copy.
type Window struct {
	begun  bool
	began  int64  // the period in which the window began
	period int64  // the present period: all before it are filled
	total  uint64 // as of the last sample
	base   uint64 // the total at the beginning
	fine   [fineLen]uint64
	coarse [coarseLen]uint64 // the totals at the ends of the periods and seconds
}

// Rates are changes a second.
type Rates struct{ Second, Ten, Minute float64 }

// Due reports whether a period has ended since the last sample.
func (w *Window) Due(now mono.Time) bool {
	return !w.begun || int64(now)/int64(SamplePeriod) > w.period
}

// Sample notes the running total, which never falls, as of now.
func (w *Window) Sample(now mono.Time, total uint64) {
	period := int64(now) / int64(SamplePeriod)
	if !w.begun {
		*w = Window{begun: true, began: period, period: period, total: total, base: total}
		return
	}
	// Periods slept through kept the old total; what is new belongs to the
	// period that ended last. Older ones than the rings hold are not needed.
	w.period = max(w.period, period-coarseLen*perSecond)
	for ; w.period < period; w.period++ {
		if w.period == period-1 {
			w.total = total
		}
		w.fine[w.period%fineLen] = w.total
		if (w.period+1)%perSecond == 0 {
			w.coarse[w.period/perSecond%coarseLen] = w.total
		}
	}
}

// Rates returns the rates as of now, or over the window's life if that is
// shorter. They end with the last period sampled, and those over ten and sixty
// seconds with the last full second.
func (w *Window) Rates(now mono.Time) (r Rates) {
	at := *w
	if now > lag {
		at.Sample(now-lag, at.total)
	}
	if at.period == at.began {
		return Rates{}
	}
	return Rates{at.short(), at.long(10), at.long(60)}
}

// short is the rate over the last second.
func (w *Window) short() float64 {
	periods := min(w.period-w.began, perSecond)
	from := w.base
	if w.period-w.began > perSecond {
		from = w.fine[(w.period-1-perSecond)%fineLen]
	}
	return float64(w.fine[(w.period-1)%fineLen]-from) * float64(perSecond) / float64(periods)
}

// long is the rate over the last full seconds.
func (w *Window) long(seconds int64) float64 {
	end := w.period / perSecond // the present second
	if w.period-w.began <= seconds*perSecond || end-1-seconds < (w.began+perSecond-1)/perSecond {
		to := w.fine[(w.period-1)%fineLen]
		return float64(to-w.base) * float64(perSecond) / float64(w.period-w.began)
	}
	return float64(w.coarse[(end-1)%coarseLen]-w.coarse[(end-1-seconds)%coarseLen]) / float64(seconds)
}
