// Package hosttest asks the host, and not the code under test, whether a test can run: a fault of ours must not look like a host that lacks something.
package hosttest

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// NeedNamespaces skips a test where this user cannot make network namespaces with a virtual cable between them.
func NeedNamespaces(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("the command ip of iproute2, which makes network namespaces, is not installed: ", err)
	}
	name := "hosttest-" + strconv.Itoa(os.Getpid())
	defer func() { _ = exec.Command("ip", "netns", "del", name).Run() }()
	for _, args := range []string{"netns add " + name, "-n " + name + " link add probe0 type veth peer name probe1"} {
		if said, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Skipf("this host refuses `ip %s`, also to root: %s", args, said)
		}
	}
}
