package main

import (
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"
)

func TestOthersAreNamedWithTheirTime(t *testing.T) {
	if _, err := os.Stat("/proc/self/schedstat"); err != nil {
		t.Skip("this kernel does not count how long threads run: ", err)
	}
	loop := exec.Command("sh", "-c", "while :; do :; done")
	before := readTasks()
	start := time.Now()
	if err := loop.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = loop.Wait() }()
	defer func() { _ = loop.Process.Kill() }()
	dir := "/proc/" + strconv.Itoa(loop.Process.Pid) + "/task/" + strconv.Itoa(loop.Process.Pid)
	used := time.Duration(0)
	for used < 20*time.Millisecond && time.Since(start) < 20*time.Second {
		time.Sleep(5 * time.Millisecond)
		used = readTasks()[dir]
	}
	after := readTasks()
	d := time.Since(start)
	ran := tasks{dir: after[dir]}.since(before, d)
	if ms := ran["sh"]; ms < 20/d.Seconds() || ms > 1050 {
		t.Errorf("a loop that computes ran %.1f ms/s in %v", ms, d)
	}
	if total(after.since(before, d)) < ran["sh"] {
		t.Error("all together ran less than one of them")
	}
	if _, found := readTasks(loop.Process.Pid)[dir]; found {
		t.Error("a process that is left out is there")
	}
}

func TestMostNamesThree(t *testing.T) {
	if got, want := most(map[string]float64{"a": 1, "b": 4.25, "c": 0.01, "d": 2, "e": 1}), "b 4.2, d 2.0, a 1.0 ms/s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := most(map[string]float64{"c": 0.01}); got != "nobody" {
		t.Errorf("got %q", got)
	}
	if got := total(map[string]float64{"a": 1, "b": 4}); got != 5 {
		t.Errorf("the total is %v", got)
	}
}
