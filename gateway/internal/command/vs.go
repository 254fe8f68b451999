package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// comparison is the program behind --vs. It is a module of its own, so that this one is built without the transports that it is compared with.
const comparison = "godwit-bench"

// benchVs runs the comparison with other transports. It starts servers of its own.
func benchVs(ctx context.Context, peers string, out, errOut io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program := filepath.Join(filepath.Dir(self), comparison)
	if _, err := os.Stat(program); err != nil {
		if program, err = exec.LookPath(comparison); err != nil {
			return fmt.Errorf("--vs takes %s, which is not beside this program and not in the PATH: in a checkout of the sources, make bin/%s builds it", comparison, comparison)
		}
	}
	args := []string{"-quick"}
	if peers != "all" {
		args = append(args, "-peers", "godwit,"+peers)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = out, errOut
	if err := cmd.Run(); err != nil {
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			return fmt.Errorf("%s: %w; it has said why", program, err)
		}
		return err
	}
	return nil
}
