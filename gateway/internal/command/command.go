// Package command is the command line of godwit: one file a command.
package command

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"godwit.example/godwit/load"
)

// DefaultAddress and DefaultAdmin are where a server without configuration listens.
const (
	DefaultAddress = "127.0.0.1:4242"
	DefaultAdmin   = "127.0.0.1:4280"
)

// Main runs the command line and returns the exit code: 0, 1 for a command that failed, 2 for a command line that makes no sense.
func Main(args []string, out, errOut io.Writer) int {
	if load.MaybeRunReference() { // bench starts this program again as a reference server
		return 0
	}
	root := newRoot(out, errOut)
	root.SetArgs(args)
	err := root.Execute()
	var failed *failure
	switch {
	case err == nil:
		return 0
	case errors.As(err, &failed):
		fmt.Fprintln(errOut, "godwit:", strings.TrimPrefix(err.Error(), "godwit: ")) // as the library's own errors begin
		return 1
	}
	fmt.Fprintln(errOut, "godwit:", err)
	fmt.Fprintln(errOut, "godwit help shows the commands, godwit COMMAND --help its flags.")
	return 2
}

// A failure is the error of a command that ran; any other error is one of the command line.
type failure struct{ err error }

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// run adapts a command's function so that its errors are failures.
func run(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		if err := f(cmd, args); err != nil {
			return &failure{err}
		}
		return nil
	}
}

func newRoot(out, errOut io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "godwit",
		Short:         "Encrypted messages over UDP, each with the guarantee it needs",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Example: "  godwit serve                     serve echo on " + DefaultAddress + " with a development identity\n" +
			"  godwit bench                     load that server and print latency, throughput and losses\n" +
			"  godwit ping                      measure its round trip\n" +
			"  godwit recv                      print messages; echo hello | godwit send sends one\n" +
			"  godwit netem --loss 5%           put a bad network in front of it",
	}
	root.SetOut(out)
	root.SetErr(errOut)
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newServe(), newBench(), newPing(), newSend(), newRecv(), newNetem())
	return root
}

// version is that of the module if it was installed from one, else the commit that it was built from, as far as the build recorded it.
func version() string {
	v := "dev"
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" && info.Main.Version != "(devel)" {
			v = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 && v == "dev" {
				v += "-" + s.Value[:12]
			}
		}
	}
	return v + " (" + runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH + ")"
}
