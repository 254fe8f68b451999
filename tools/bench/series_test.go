package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ptr(v float64) *float64 { return &v }

// made returns a valid run with its references.
func made(p99, rate float64) *result {
	r := &result{MessagesPerSecond: rate, Valid: true, Retransmission: ptr(0), ServerPerMessage: ptr(0.2), ServerCPU: ptr(90)}
	r.Latency.P99 = p99
	r.Reference = map[string]*result{
		"udp": {Valid: true, ServerPerMessage: ptr(3)},
		"tcp": {Valid: true, ServerPerMessage: ptr(0.4)},
	}
	return r
}

func seriesOf(promise func(*series) verdict, runs ...*result) *series {
	s := &series{promise: promise, reference: true}
	for _, r := range runs {
		s.add(r)
	}
	s.conclude(len(runs))
	return s
}

func TestMedianIsTheMiddleRun(t *testing.T) {
	s := seriesOf(promiseLatency, made(900, 1), made(200, 1), made(300, 1))
	if m, ok := s.median(func(r *result) *float64 { return &r.Latency.P99 }); m != 300 || !ok {
		t.Errorf("the median is %v", m)
	}
	if !s.Verdict.Holds {
		t.Errorf("one slow run of three breaks the promise: %s", s.Verdict.Text)
	}
	even := seriesOf(promiseLatency, made(100, 1), made(200, 1))
	if m, _ := even.median(func(r *result) *float64 { return &r.Latency.P99 }); m != 150 {
		t.Errorf("the median of two is %v", m)
	}
	s.Runs[1].ServerCPU = nil
	if _, ok := s.median(func(r *result) *float64 { return r.ServerCPU }); ok {
		t.Error("a figure that one run does not have has a median")
	}
}

func TestPromisesAreBrokenByEachFault(t *testing.T) {
	faults := map[string]func(*result){
		"slow":       func(r *result) { r.Latency.P99 = 501 },
		"lost":       func(r *result) { r.Lost = 1 },
		"corrupted":  func(r *result) { r.Corrupted = 1 },
		"repeated":   func(r *result) { r.Retransmission = ptr(0.002) },
		"overflowed": func(r *result) { r.KernelDrops = 1 },
		"unknown":    func(r *result) { r.Retransmission = nil },
	}
	for name, fault := range faults {
		r := made(100, 20_000)
		fault(r)
		if s := seriesOf(promiseLatency, r); s.Verdict.Holds {
			t.Errorf("%s: %s", name, s.Verdict.Text)
		}
	}
	if s := seriesOf(promiseThroughput, made(100, 1_499_999)); s.Verdict.Holds {
		t.Error(s.Verdict.Text)
	}
	s := seriesOf(promiseThroughput, made(100, 1_500_000))
	if !s.Verdict.Holds || !strings.Contains(s.Verdict.Text, "ratio 0.50") {
		t.Error(s.Verdict.Text)
	}
}

func TestThroughputOfAnIdleServerIsALowerBound(t *testing.T) {
	for _, c := range []struct {
		cpu  *float64
		want string
	}{
		{ptr(95), ""},
		{ptr(81.2), "the server was only 81.2 % busy: messages/s is a lower bound"},
		{nil, "how busy the server was is unknown: messages/s is a lower bound"},
	} {
		r := made(100, 1_500_000)
		r.ServerCPU = c.cpu
		v := seriesOf(promiseThroughput, r).Verdict
		if !v.Holds || !strings.HasSuffix(v.Text, c.want) || c.want == "" && strings.Contains(v.Text, "lower bound") {
			t.Errorf("%+v, want %q", v, c.want)
		}
	}
}

func TestInvalidRunsAreNoResult(t *testing.T) {
	bad := made(1, 1e9)
	bad.Valid = false
	bad.Reasons = []string{"other programs used 20.0 % of the machine, more than 8 %"}
	again := made(1, 1e9)
	again.Valid = false
	again.Reasons = []string{"other programs used 30.0 % of the machine, more than 8 %"}
	lame := made(1, 1e9)
	lame.Reference["tcp"].Valid = false
	s := seriesOf(promiseThroughput, bad, again, lame)
	if len(s.Runs) != 0 || len(s.Invalid) != 3 || s.Verdict.Holds {
		t.Errorf("%d runs count, the verdict is %+v", len(s.Runs), s.Verdict)
	}
	var out strings.Builder
	if err := s.write(&out); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "INVALID"); n != 1 {
		t.Errorf("the same reason with other figures is printed %d times:\n%s", n, out.String())
	}
	if !strings.Contains(out.String(), "MISSED: 0 valid runs of 3") {
		t.Errorf("printed\n%s", out.String())
	}
}

func TestOnlyChoosesByName(t *testing.T) {
	list, err := (&options{only: "w3, W1"}).chosen()
	if err != nil || len(list) != 2 || list[0].name != "W3" || list[1].name != "W1" {
		t.Errorf("got %v, %v", list, err)
	}
	if _, err := (&options{only: "W99"}).chosen(); err == nil || !strings.Contains(err.Error(), "W2-small") {
		t.Errorf("an unknown name gives %v", err)
	}
}

func TestKeptRunsAreThoseOfOneProgram(t *testing.T) {
	dir := t.TempDir()
	path, program := filepath.Join(dir, "runs"), filepath.Join(dir, "program")
	write := func(text string) {
		if err := os.WriteFile(program, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	k, err := openKept(path, program)
	if err != nil {
		t.Fatal(err)
	}
	s := seriesOf(promiseLatency, made(300, 1), made(200, 1))
	s.Workload = "W2"
	if err := k.save([]*series{s}); err != nil {
		t.Fatal(err)
	}
	k, err = openKept(path, program)
	if err != nil {
		t.Fatal(err)
	}
	again := &series{Workload: "W2", promise: promiseLatency}
	k.restore([]*series{again, {Workload: "W3"}})
	again.conclude(2)
	if len(again.Runs) != 2 || *again.Verdict != *s.Verdict {
		t.Errorf("%d runs came back, the verdict is %+v", len(again.Runs), again.Verdict)
	}
	write("two")
	if _, err := openKept(path, program); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("runs of another program: %v", err)
	}
}
