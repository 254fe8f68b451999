package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The limits of the container.
const (
	memoryLimit = 64 << 20
	cpuPeriod   = 100_000 // µs
	cpuQuota    = cpuPeriod / 2
)

// A group is a control group with the memory and the cpu controller: in version 1 two directories, in version 2 the same one twice.
type group struct {
	unified     bool
	memory, cpu string // directories
}

// A setting is a file of a group and what is to be in it.
type setting struct {
	file, value string
	optional    bool // not every kernel has it
}

func (g group) settings() []setting {
	limit := strconv.Itoa(memoryLimit)
	if g.unified {
		return []setting{
			{filepath.Join(g.memory, "memory.max"), limit, false},
			{filepath.Join(g.memory, "memory.swap.max"), "0", true},
			{filepath.Join(g.cpu, "cpu.max"), fmt.Sprint(cpuQuota, " ", cpuPeriod), false},
		}
	}
	return []setting{
		{filepath.Join(g.memory, "memory.limit_in_bytes"), limit, false},
		{filepath.Join(g.memory, "memory.memsw.limit_in_bytes"), limit, true},
		{filepath.Join(g.cpu, "cpu.cfs_period_us"), strconv.Itoa(cpuPeriod), false},
		{filepath.Join(g.cpu, "cpu.cfs_quota_us"), strconv.Itoa(cpuQuota), false},
	}
}

// String and parseGroup carry a group to the steps inside.
func (g group) String() string {
	return fmt.Sprint(g.unified) + string(os.PathListSeparator) + g.memory + string(os.PathListSeparator) + g.cpu
}

func parseGroup(s string) (group, error) {
	f := filepath.SplitList(s)
	if len(f) != 3 {
		return group{}, fmt.Errorf("%q is no control group", s)
	}
	return group{f[0] == "true", f[1], f[2]}, nil
}

// dirs are the group's directories, each once.
func (g group) dirs() []string { return slices.Compact([]string{g.memory, g.cpu}) }

// findBase finds a group that may have children with both controllers: below root, which is "/" but in tests, it reads what /proc says
// of this process. Version 1 is preferred where both are mounted, as a controller is in one of them only.
func findBase(root string) (group, error) {
	own, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return group{}, fmt.Errorf("control groups (%w)", err)
	}
	mounts, err := os.ReadFile(filepath.Join(root, "proc/self/mountinfo"))
	if err != nil {
		return group{}, fmt.Errorf("control groups (%w)", err)
	}
	memory, cpu := ownDir(string(own), string(mounts), "memory"), ownDir(string(own), string(mounts), "cpu")
	if memory != "" && cpu != "" {
		return group{false, filepath.Join(root, memory), filepath.Join(root, cpu)}, nil
	}
	dir := ownDir(string(own), string(mounts), "")
	if dir == "" {
		return group{}, errors.New("control groups with the memory and cpu controllers (/proc/self/mountinfo has none)")
	}
	var why error
	for top := mountPoint(string(mounts), ""); strings.HasPrefix(dir, top); dir = filepath.Dir(dir) {
		at := filepath.Join(root, dir)
		if why = handDown(at); why == nil {
			return group{true, at, at}, nil
		}
		if dir == "/" {
			break
		}
	}
	return group{}, fmt.Errorf("the memory and cpu controllers (cgroup version 2: %w)", why)
}

// handDown makes the children of a group of version 2 have both controllers. A group with processes in it cannot, unless it is the root
// of all.
func handDown(dir string) error {
	control := filepath.Join(dir, "cgroup.subtree_control")
	b, err := os.ReadFile(control)
	if err != nil {
		return err
	}
	for _, c := range []string{"memory", "cpu"} {
		if slices.Contains(strings.Fields(string(b)), c) {
			continue
		}
		if err := write(control, "+"+c); err != nil {
			return err
		}
	}
	return nil
}

// ownDir is the directory of this process's group in the hierarchy of a version 1 controller, or of version 2 if its name is empty;
// it is empty if there is none.
func ownDir(own, mounts, controller string) string {
	for _, line := range strings.Split(own, "\n") {
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 || !slices.Contains(strings.Split(f[1], ","), controller) || controller == "" && f[0] != "0" {
			continue
		}
		if at := mountPoint(mounts, controller); at != "" {
			return filepath.Join(at, strings.TrimPrefix(f[2], mountRoot(mounts, controller)))
		}
	}
	return ""
}

// mountPoint is where the hierarchy is mounted, mountRoot which of its groups is seen there (man 5 proc_pid_mountinfo).
func mountPoint(mounts, controller string) string { return mountField(mounts, controller, 4) }

func mountRoot(mounts, controller string) string {
	return strings.TrimSuffix(mountField(mounts, controller, 3), "/")
}

func mountField(mounts, controller string, n int) string {
	for _, line := range strings.Split(mounts, "\n") {
		left, right, _ := strings.Cut(line, " - ")
		where, what := strings.Fields(left), strings.Fields(right)
		if len(where) < 5 || len(what) < 3 {
			continue
		}
		v1 := what[0] == "cgroup" && controller != "" && slices.Contains(strings.Split(what[2], ","), controller)
		if v1 || what[0] == "cgroup2" && controller == "" {
			return where[n]
		}
	}
	return ""
}

// create makes a child with the limits.
func (g group) create(name string) (group, error) {
	g.memory, g.cpu = filepath.Join(g.memory, name), filepath.Join(g.cpu, name)
	for _, dir := range g.dirs() {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return group{}, errors.Join(missing("a container needs control groups to be made: "+err.Error()), g.remove())
		}
	}
	for _, s := range g.settings() {
		if err := write(s.file, s.value); err != nil && !(s.optional && errors.Is(err, os.ErrNotExist)) {
			return group{}, errors.Join(err, g.remove())
		}
	}
	return g, nil
}

// write writes a setting: such files are never created or cut off.
func write(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// join moves this process, all its threads, into the group.
func (g group) join() error {
	var failed []error
	for _, dir := range g.dirs() {
		failed = append(failed, write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(os.Getpid())))
	}
	return errors.Join(failed...)
}

// probe looks whether this process is in the group and the group has its limits.
func (g group) probe() error {
	var failed []error
	for _, dir := range g.dirs() {
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil || !slices.Contains(strings.Fields(string(b)), strconv.Itoa(os.Getpid())) {
			failed = append(failed, errors.Join(fmt.Errorf("this process is not in %s", dir), err))
		}
	}
	for _, s := range g.settings() {
		b, err := os.ReadFile(s.file)
		if s.optional && errors.Is(err, os.ErrNotExist) {
			continue
		}
		failed = append(failed, expect(s.file, strings.TrimSpace(string(b)), s.value, err))
	}
	return errors.Join(failed...)
}

// report says what the program needed. The error says whether anything was killed for want of memory.
func (g group) report() (string, error) {
	peak, events := "memory.peak", "memory.events"
	if !g.unified {
		peak, events = "memory.max_usage_in_bytes", "memory.oom_control"
	}
	most := number(filepath.Join(g.memory, peak), "")
	stat := filepath.Join(g.cpu, "cpu.stat")
	said := fmt.Sprintf("%.1f of %d MiB of memory at most; the quota of CPU time was used up in %d of %d periods", float64(most)/(1<<20),
		memoryLimit>>20, number(stat, "nr_throttled"), number(stat, "nr_periods"))
	if n := number(filepath.Join(g.memory, events), "oom_kill"); n > 0 {
		return said, fmt.Errorf("%d processes were killed for want of memory", n)
	}
	return said, nil
}

// number reads a number from a file, of the line with a name if there is one; 0 if the kernel does not tell.
func number(file, name string) int64 {
	b, _ := os.ReadFile(file)
	for _, line := range strings.Split(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) == 1 && name == "" || len(f) == 2 && f[0] == name {
			n, _ := strconv.ParseInt(f[len(f)-1], 10, 64)
			return n
		}
	}
	return 0
}

// remove removes the group once its last process has gone.
func (g group) remove() error {
	var failed []error
	for _, dir := range g.dirs() {
		err := os.Remove(dir)
		for tries := 0; tries < 100 && err != nil && !errors.Is(err, os.ErrNotExist); tries++ {
			time.Sleep(10 * time.Millisecond)
			err = os.Remove(dir)
		}
		if !errors.Is(err, os.ErrNotExist) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}
