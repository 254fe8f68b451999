package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The tools that are not part of Go, at the versions the project is checked with.
var (
	gofumpt     = tool{"gofumpt", "mvdan.cc/gofumpt", "v0.12.0"}
	staticcheck = tool{"staticcheck", "honnef.co/go/tools/cmd/staticcheck", "v0.8.2"}
)

// racePackages are those with more than one goroutine touching the same memory. They are built with the debug tag at the same time.
var racePackages = []string{".", "./internal/mailbox", "./internal/shard", "./internal/handshake", "./internal/udp", "./load", "./netem", "./godwittest", "./gateway/..."}

// debugPackages have assertions, coverage marks or poison in debug builds. So have some of racePackages, whose stage is theirs.
var debugPackages = []string{"./internal/..."}

// notOnBothEngines leaves out the repeats over the portable engine, where another stage runs everything over it.
const notOnBothEngines = "-skip=^TestPortableEngine$"

// mutantPackages plant named faults and fail if nothing notices.
var mutantPackages = []string{"./internal/mutant", "./internal/proto", "./internal/shard"}

// pureGoPackages hold assembly, or call crypto that does: built with the purego tag they use none of it.
var pureGoPackages = []string{"./internal/wire", "./internal/mem", "./internal/protect", "./internal/simd", "./internal/handshake"}

// grpcModule is tested by a stage of its own.
const grpcModule = "./grpctest/..."

// hereOnly are modules that are not vetted for other platforms: nothing that users run needs what they need.
var hereOnly = []string{grpcModule, "./bench/...", "./tools/crossvet/..."}

// platforms are vetted, not run: the portable engine must at least compile and type-check on each.
var platforms = []string{"darwin/arm64", "windows/amd64", "freebsd/amd64", "linux/arm64"}

// defaultSeeds is what make test plays.
const defaultSeeds = 300

// longer returns the budget of a stage, none if more than its usual work was asked for.
func (r *runner) longer(asked bool, budget time.Duration) time.Duration {
	if asked {
		return unlimited
	}
	return budget
}

// unlimited is the budget of the long stages, which somebody asked for.
const unlimited = 7 * 24 * time.Hour

func (r *runner) stages() []stage {
	return []stage{
		{name: "gofumpt", budget: 60 * time.Second, run: runGofumpt},
		{name: "mod", budget: 60 * time.Second, run: runMod},
		{name: "vet", budget: 120 * time.Second, run: runVet},
		{name: "staticcheck", budget: 120 * time.Second, run: runStaticcheck},
		{name: "cross-vet", budget: 240 * time.Second, run: runCrossVet},
		{name: "test", budget: 240 * time.Second, run: func(ctx context.Context, r *runner) error {
			ok, err := r.testTree(ctx, r.modulesBut(grpcModule), notOnBothEngines)
			r.okLines = ok
			return err
		}},
		{name: "gate", budget: 60 * time.Second, run: func(ctx context.Context, r *runner) error {
			os.Setenv("GODWIT_GATE", "1")
			defer os.Unsetenv("GODWIT_GATE")
			_, err := r.goTest(ctx, "-count=1", "-run=^(TestCounts|TestTimeRatio)", "./internal/shard")
			return err
		}},
		{name: "test-debug", budget: 240 * time.Second, run: func(ctx context.Context, r *runner) error {
			_, err := r.testTree(ctx, r.existing(debugPackages), "-tags=godwitdebug")
			return err
		}},
		{name: "test-portable", budget: 180 * time.Second, run: func(ctx context.Context, r *runner) error {
			os.Setenv("GODWIT_ENGINE", "portable")
			defer os.Unsetenv("GODWIT_ENGINE")
			_, err := r.goTest(ctx, "-skip=Tidy|Import|Banned|Layout|^TestPortableEngine$", ".")
			return err
		}},
		{name: "test-purego", budget: 90 * time.Second, run: func(ctx context.Context, r *runner) error {
			// Without assembly the ciphers of the standard library allocate too.
			_, err := r.goTest(ctx, append([]string{"-tags=purego", "-skip=Alloc"}, r.existing(pureGoPackages)...)...)
			return err
		}},
		{name: "grpc", budget: 120 * time.Second, absent: r.missing("grpctest"), run: func(ctx context.Context, r *runner) error {
			_, err := r.goTest(ctx, grpcModule)
			return err
		}},
		{name: "enet", budget: 60 * time.Second, absent: r.missing("bench"), run: runENet},
		{name: "sim", budget: r.longer(r.seeds > defaultSeeds, 90*time.Second), run: runSim},
		{name: "mutants", budget: 120 * time.Second, run: func(ctx context.Context, r *runner) error {
			_, err := r.goTest(ctx, append([]string{"-tags=godwitmutant,godwitdebug", "-run=Mutant"}, r.existing(mutantPackages)...)...)
			return err
		}},
		{name: "container", budget: 150 * time.Second, run: runContainer},
		{name: "race", budget: 300 * time.Second, run: runRace},
		{name: "fuzz", budget: r.longer(r.fuzzTime != defaultFuzzTime, 240*time.Second), run: runFuzz},
		{name: "spec", budget: 120 * time.Second, absent: r.missing("tools/spec/run.sh"), run: func(ctx context.Context, r *runner) error {
			return r.command(ctx, nil, "tools/spec/run.sh")
		}},
		{name: "soak", budget: unlimited, onlyAsk: true, run: runSoak},
	}
}

// timedPackages drive real sockets against the clock. They are tested one at a time, with no other test beside them: a starved load
// generator is no finding.
var timedPackages = []string{".", "./load", "./netem", "./examples", "./gateway/..."}

// testTree tests packages with the given flags, first those that may run side by side.
func (r *runner) testTree(ctx context.Context, patterns []string, flags ...string) (lines []string, err error) {
	all, err := r.output(ctx, nil, "go", append([]string{"list"}, patterns...)...)
	if err != nil {
		return nil, err
	}
	timed, err := r.output(ctx, nil, "go", append([]string{"list"}, r.existing(timedPackages)...)...)
	if err != nil {
		return nil, err
	}
	var beside, alone []string
	for _, p := range strings.Fields(all) {
		if slices.Contains(strings.Fields(timed), p) {
			alone = append(alone, p)
		} else {
			beside = append(beside, p)
		}
	}
	var failed []error
	for _, group := range [][]string{beside, append([]string{"-p=1"}, alone...)} {
		if len(group) == 0 || group[len(group)-1] == "-p=1" {
			continue
		}
		more, err := r.goTest(ctx, slices.Concat(flags, group)...)
		lines, failed = append(lines, more...), append(failed, err)
	}
	return lines, errors.Join(failed...)
}

// missing returns why a stage is absent if its file is, and the empty string otherwise.
func (r *runner) missing(path string) string {
	if _, err := os.Stat(filepath.Join(r.root, filepath.FromSlash(path))); err != nil {
		return "there is no " + path
	}
	return ""
}

// modulesBut returns the modules but some.
func (r *runner) modulesBut(some ...string) []string {
	return slices.DeleteFunc(slices.Clone(r.modules), func(m string) bool { return slices.Contains(some, m) })
}

// existing drops the packages whose directory does not exist.
func (r *runner) existing(packages []string) []string {
	var kept []string
	for _, p := range packages {
		if r.missing(strings.TrimSuffix(p, "/...")) == "" {
			kept = append(kept, p)
		}
	}
	return kept
}

func runGofumpt(ctx context.Context, r *runner) error {
	bin, err := gofumpt.install(ctx, r)
	if err != nil {
		return err
	}
	files, err := r.goFiles(ctx)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return nil
	}
	mode := "-l"
	if r.fix {
		mode = "-w"
	}
	out, err := r.output(ctx, nil, bin, append([]string{mode}, files...)...)
	if err != nil {
		return err
	}
	if out != "" {
		return fmt.Errorf("not formatted (make fmt mends it):\n%s", out)
	}
	return nil
}

// goFiles lists the Go files of the work tree that git does not ignore.
func (r *runner) goFiles(ctx context.Context) ([]string, error) {
	out, err := r.output(ctx, nil, "git", "ls-files", "--cached", "--others", "--exclude-standard", "--", "*.go")
	if err != nil {
		return nil, err
	}
	var files []string
	for _, f := range strings.Fields(out) {
		if r.missing(f) == "" { // deleted but not yet committed
			files = append(files, f)
		}
	}
	return files, nil
}

// runMod checks that each module's requirements are complete and minimal, so that it builds outside the workspace too.
func runMod(ctx context.Context, r *runner) error {
	for _, module := range r.modules {
		dir := strings.TrimSuffix(module, "/...")
		if err := r.command(ctx, []string{"GOWORK=off", "GOFLAGS=-mod=mod"}, "go", "-C", dir, "mod", "tidy", "-diff"); err != nil {
			return fmt.Errorf("%s: not tidy (go mod tidy mends it): %w", dir, err)
		}
	}
	return nil
}

func runVet(ctx context.Context, r *runner) error {
	var failed []error
	for _, tags := range []string{"", "godwitdebug", "godwitmutant,godwitdebug"} {
		failed = append(failed, r.command(ctx, nil, "go", append([]string{"vet", "-tags=" + tags}, r.modules...)...))
	}
	return errors.Join(failed...)
}

func runStaticcheck(ctx context.Context, r *runner) error {
	bin, err := staticcheck.install(ctx, r)
	if err != nil {
		return err
	}
	return r.command(ctx, nil, bin, r.modules...)
}

func runCrossVet(ctx context.Context, r *runner) error {
	dir, err := os.MkdirTemp("", "crossvet")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	vet := filepath.Join(dir, "crossvet")
	if err := r.command(ctx, nil, "go", "build", "-o", vet, "./tools/crossvet"); err != nil {
		return err
	}
	var failed []error
	for _, p := range platforms {
		goos, goarch, _ := strings.Cut(p, "/")
		env := []string{"GOOS=" + goos, "GOARCH=" + goarch, "CGO_ENABLED=0"}
		if err := r.command(ctx, env, vet, r.modulesBut(hereOnly...)...); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", p, err))
		}
	}
	return errors.Join(failed...)
}

// runSim plays seeded scenarios of whole endpoints on a simulated network and, if more seeds than usual were asked for, as many
// histories of packed and unpacked connections.
func runSim(ctx context.Context, r *runner) error {
	if seed := os.Getenv("SEED"); seed != "" { // make sim SEED=n replays one
		_, err := r.goTest(ctx, "-tags=godwitdebug", "-run=TestSeeds", "./godwittest", "-seed="+seed)
		return err
	}
	n := strconv.Itoa(r.seeds)
	_, err := r.goTest(ctx, "-tags=godwitdebug", "-run=TestSeeds", "./godwittest", "-seeds="+n)
	if r.seeds <= defaultSeeds {
		return err
	}
	for _, room := range []string{"./internal/proto", "./internal/shard"} {
		_, packed := r.goTest(ctx, "-run=SameFuture", "-timeout=60m", room, "-histories="+n)
		err = errors.Join(err, packed)
	}
	return err
}

// runENet checks what is built with -tags enet only: the peer that is C.
func runENet(ctx context.Context, r *runner) error {
	cc := exec.CommandContext(ctx, "gcc", "-E", "-")
	cc.Stdin = strings.NewReader("#include <enet/enet.h>\n")
	if err := cc.Run(); err != nil {
		return skip{"ENet needs gcc and its headers: apt-get install gcc libenet-dev"}
	}
	if err := r.command(ctx, nil, "go", "vet", "-tags=enet", "./bench/..."); err != nil {
		return err
	}
	_, err := r.goTest(ctx, "-tags=enet", "-run=/enet", "./bench/internal/peer")
	return err
}

func runRace(ctx context.Context, r *runner) error {
	cc := os.Getenv("CC")
	if cc == "" {
		cc = "gcc"
	}
	if _, err := exec.LookPath(cc); err != nil {
		return skip{"the race detector needs a C compiler: apt-get install gcc"}
	}
	_, err := r.testTree(ctx, r.existing(racePackages), "-race", "-tags=godwitdebug", "-skip=Tidy|Import|Banned|Layout|Alloc|^TestSeeds$|^TestModesOnABadLink$|^TestLogLevels$") // the policies and the simulator have no goroutines; the detector allocates; the last two wait for seconds, as others of the gateway do
	return err
}

// A tool is a Go program at a pinned version.
type tool struct{ name, path, version string }

// install builds the tool once per version and toolchain into the user's cache and returns the path of its binary.
func (t tool) install(ctx context.Context, r *runner) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", skip{t.name + ": no cache directory: set HOME or XDG_CACHE_HOME"}
	}
	dir := filepath.Join(cache, "godwit-tools", t.name+"@"+t.version+"-"+runtime.Version())
	bin := filepath.Join(dir, t.name)
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	fmt.Fprintf(r.out, "installing %s@%s\n", t.path, t.version)
	cmd := r.prepare(ctx, []string{"GOBIN=" + dir, "GOWORK=off", "GOFLAGS="}, "go", "install", t.path+"@"+t.version)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		return "", skip{fmt.Sprintf("%s@%s does not install: %v\n%s", t.path, t.version, err, said.String())}
	}
	return bin, nil
}
