package process

import (
	"os"
	"strings"
	"testing"
)

func TestStatusIsReadInBytes(t *testing.T) {
	text := "Name:\techo\nVmSwap:\t       8 kB\nVmRSS:\t    8188 kB\nRssAnon:\t    1092 kB\nRssFile:\t    7096 kB\nThreads:\t7\n"
	f, err := parseStatus(text)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Memory{Anon: 1092 << 10, RSS: 8188 << 10, Swap: 8 << 10, Threads: 7}); f != want {
		t.Errorf("got %+v, want %+v", f, want)
	}
	if _, err := parseStatus(strings.Replace(text, "RssAnon", "RssOther", 1)); err == nil || !strings.Contains(err.Error(), "RssAnon") {
		t.Errorf("a figure that is missing gives %v", err)
	}
	if _, err := parseStatus(strings.Replace(text, "1092", "many", 1)); err == nil {
		t.Error("a figure that is no number is taken")
	}
}

func TestAvailableMemoryIsRead(t *testing.T) {
	if _, err := os.Stat("/proc/meminfo"); err != nil {
		t.Skip("this system does not tell its memory: ", err)
	}
	n, err := Available()
	if err != nil {
		t.Fatal(err)
	}
	if n < 1<<20 {
		t.Errorf("%d bytes are available, with which this test would not run", n)
	}
}
