package shard

import "godwit.example/godwit/internal/mono"

// A thread that sleeps wakes 20-50 µs after its datagram has come, and milliseconds after it where the CPU sleeps too and a hypervisor
// has given it to others. Looking for work instead takes the rest of a CPU that is busy for a good part already. So a shard looks while work
// comes often, and while nobody else wants the CPU; see docs/adr/0017-shards-look-before-they-sleep.md.
const (
	judgeEvery = 25 * mono.Millisecond  // how often it is found out whether work comes often
	shareEvery = 100 * mono.Millisecond // and whether others want the CPU
	// A kernel's own threads take up to 4 ms of that from a thread which has the CPU for itself; who shares it with one other waits for half.
	mostDelay    = 10 * mono.Millisecond
	leastRespite = 2 * mono.Second
	mostRespite  = mono.Minute
)

// spinner decides whether a shard without work looks for more or sleeps.
type spinner struct {
	patience mono.Duration // how long it looks, and how often work must come; 0 means that it never looks
	ask      func() delay  // of the calling thread

	work   uint64    // what had come and gone at worked
	worked mono.Time // when there was work last
	laps   int64     // with work, since judged
	judged mono.Time
	brisk  bool // work came often before judged, and others did not want the CPU

	delay   delay // at asked
	asked   mono.Time
	respite mono.Duration // how long it does not look after others wanted the CPU; doubles until they have not for as long
	resting mono.Time     // until then it does not look
	pauses  uint64        // how often that began
}

// delay is for how long others have had the CPU while a thread wanted to run.
type delay struct {
	thread int
	waited mono.Duration
	known  bool
}

// look reports whether the shard, which has nothing to do at now, is to look for work at once. work grows with all that it does.
func (s *spinner) look(now mono.Time, work uint64) bool {
	if s.patience <= 0 {
		return false
	}
	if work != s.work {
		s.work, s.worked = work, now
		s.laps++
	}
	if past := now.Sub(s.judged); past >= judgeEvery {
		s.brisk = past < mono.Duration(s.laps)*s.patience && now >= s.resting
		s.judged, s.laps = now, 0
	}
	if !s.brisk || now.Sub(s.worked) >= s.patience {
		return false
	}
	if now.Sub(s.asked) >= shareEvery {
		s.share(now)
	}
	return s.brisk
}

// share finds out whether others want the CPU. Where nobody can say, they might.
func (s *spinner) share(now mono.Time) {
	was, past := s.delay, now.Sub(s.asked)
	s.delay, s.asked = s.ask(), now
	switch {
	case !s.delay.known:
		s.rest(now, mostRespite)
	case past >= 2*shareEvery || was.thread != s.delay.thread:
	case s.delay.waited-was.waited > mostDelay:
		s.rest(now, max(2*s.respite, leastRespite))
	case now.Sub(s.resting) > s.respite:
		s.respite = 0
	}
}

func (s *spinner) rest(now mono.Time, d mono.Duration) {
	s.respite = min(d, mostRespite)
	s.resting = now.Add(s.respite)
	s.brisk = false
	s.pauses++
}
