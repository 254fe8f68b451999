package main

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A p99 is decided by 1 % of the time, which other programs may have on a machine that counts as idle. So each run says who ran meanwhile:
// a task that has the server's CPU or the client's for 3 ms holds up sixty messages of W2.

// tasks is the CPU time of each task of the machine, by its directory in /proc.
type tasks map[string]time.Duration

// readTasks leaves out the processes that are named. It is empty where the kernel does not tell such times.
func readTasks(but ...int) tasks {
	all := tasks{}
	files, _ := filepath.Glob("/proc/[0-9]*/task/*/schedstat") // the pattern is well-formed
	for _, name := range files {
		if pid, _ := strconv.Atoi(strings.Split(name, "/")[2]); slices.Contains(but, pid) {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended meanwhile
		}
		var used time.Duration // the first number
		if _, err := fmt.Sscan(string(text), &used); err == nil {
			all[filepath.Dir(name)] = used
		}
	}
	return all
}

// since returns for how long tasks ran after before was read, by name, in milliseconds of each second of the time d that has passed. Tasks that
// have ended are not known any more.
func (t tasks) since(before tasks, d time.Duration) map[string]float64 {
	ran := map[string]float64{}
	for dir, used := range t {
		if used -= before[dir]; used <= 0 {
			continue
		}
		name, err := os.ReadFile(dir + "/comm")
		if err == nil {
			ran[strings.TrimSpace(string(name))] += 1e3 * used.Seconds() / d.Seconds()
		}
	}
	return ran
}

// most names those of ran that ran longest, three at most, each of at least a tenth of a millisecond.
func most(ran map[string]float64) string {
	var list []string
	byTime := func(a, b string) int { return cmp.Or(cmp.Compare(ran[b], ran[a]), cmp.Compare(a, b)) }
	for _, name := range slices.SortedFunc(maps.Keys(ran), byTime) {
		if len(list) < 3 && ran[name] >= 0.1 {
			list = append(list, fmt.Sprintf("%s %.1f", name, ran[name]))
		}
	}
	if list == nil {
		return "nobody"
	}
	return strings.Join(list, ", ") + " ms/s"
}

// total is how long all of ran have run.
func total(ran map[string]float64) (sum float64) {
	for _, ms := range ran {
		sum += ms
	}
	return sum
}

// others is for how long others ran during a run; nil if it is not known.
func (r *result) others() *float64 {
	if len(r.Others) == 0 {
		return nil
	}
	ms := total(r.Others)
	return &ms
}
