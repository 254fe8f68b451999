package godwit

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"godwit.example/godwit/internal/mono"
)

// lockedBuffer is a log that goroutines write.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func TestSummaryIsWrittenOnceAMinute(t *testing.T) {
	var log lockedBuffer
	e := &Endpoint{limits: &limits{Config: Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}}, engine: new(engine)}
	start := mono.Now()
	e.summary.at = start
	for s := range mono.Duration(180) { // three minutes
		for range 10 {
			e.published(start.Add((s + 1) * mono.Second))
		}
	}
	e.engine.running.Wait()
	if n := strings.Count(log.buf.String(), "godwit: summary"); n != 3 {
		t.Errorf("%d summaries in three minutes:\n%s", n, log.buf.String())
	}
}

func TestWarningSaysHowOftenItWasHeldBack(t *testing.T) {
	var w warning
	now := mono.Now()
	if n, ok := w.due(now); n != 0 || !ok {
		t.Errorf("the first: %d, %v", n, ok)
	}
	for i := range mono.Duration(59) {
		if _, ok := w.due(now.Add((i + 1) * mono.Second)); ok {
			t.Fatalf("again after %d s", i+1)
		}
	}
	if n, ok := w.due(now.Add(mono.Minute)); n != 59 || !ok {
		t.Errorf("after a minute: %d, %v", n, ok)
	}
}
