package run

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"godwit.example/godwit/bench/internal/hosttest"
	"golang.org/x/sys/unix"
)

func openForTest(t *testing.T) *veth {
	t.Helper()
	hosttest.NeedNamespaces(t)
	v, err := openVeth(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// What crosses the cable is counted, and both namespaces go with it.
func TestVeth(t *testing.T) {
	v := openForTest(t)
	w, err := v.wire()
	if err != nil {
		t.Fatal(err)
	}
	// openVeth has sent a train each way.
	for name, f := range map[string]Frames{"to the server": w.ToServer, "from the server": w.FromServer} {
		if f.Packets < trainSegments || f.Bytes < trainSegments*trainSegment {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if err := w.cut(); err != nil {
		t.Error(err)
	}
	v.Close()
	for _, ns := range []string{v.server, v.client} {
		if _, err := os.Stat(filepath.Join(namespaceFiles, ns)); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", ns, err)
		}
	}
	if _, err := v.wire(); err == nil {
		t.Error("a cable that is gone has counts")
	}
}

// A train that is not cut is noticed, before a run and after it.
func TestTrainsThatAreNotCut(t *testing.T) {
	v := openForTest(t)
	if said, err := exec.Command("ip", "-n", v.client, "link", "add", "gw1", "type", "veth", "peer", "name", "gw1", "netns", v.server).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	// The device as the system makes it, under the name that is counted.
	for _, args := range []string{
		"-n " + v.client + " link del " + vethDevice,
		"-n " + v.client + " link set gw1 name " + vethDevice,
		"-n " + v.server + " link set gw1 name " + vethDevice,
		"-n " + v.client + " addr add " + vethClient.String() + "/24 dev " + vethDevice,
		"-n " + v.server + " addr add " + vethServer.String() + "/24 dev " + vethDevice,
		"-n " + v.client + " link set " + vethDevice + " up",
		"-n " + v.server + " link set " + vethDevice + " up",
	} {
		if err := ip(t.Context(), strings.Fields(args)...); err != nil {
			t.Fatal(err)
		}
	}
	if err := trainIsCut(v.client, v.server, vethServer); err == nil || !strings.Contains(err.Error(), "cannot be switched off") {
		t.Errorf("a veth with offloads: %v", err)
	}
	w, err := v.wire()
	if err != nil {
		t.Fatal(err)
	}
	w.FromServer = w.ToServer // some control packets besides, in either direction
	if most := uint64(vethMTU + vethHeader); w.ToServer.Bytes > most*w.ToServer.Packets {
		if err := w.cut(); err == nil {
			t.Errorf("%+v is not noticed", w)
		}
	}
	if err := (&Wire{ToServer: Frames{1, 1514}, FromServer: Frames{2, 4000}}).cut(); err == nil {
		t.Error("packets of 2,000 B are not noticed")
	}
	if err := (&Wire{ToServer: Frames{1, 1514}, FromServer: Frames{2, 2000}}).cut(); err != nil {
		t.Error(err)
	}
}

// gone returns the ID of a process that has ended, which nobody else has got meanwhile.
func gone(t *testing.T) int {
	t.Helper()
	for range 10 {
		p := exec.Command("true")
		if err := p.Run(); err != nil {
			t.Fatal(err)
		}
		if unix.Kill(p.Process.Pid, 0) == unix.ESRCH {
			return p.Process.Pid
		}
	}
	t.Fatal("each of ten processes that ended is still there")
	return 0
}

// The namespaces of a comparison that was killed are removed by the next one, those
// of one that runs are left alone.
func TestStaleNamespaces(t *testing.T) {
	openForTest(t).Close()
	stale := vethPrefix + strconv.Itoa(gone(t)) + "-c"
	used := vethPrefix + strconv.Itoa(os.Getppid()) + "-s"
	for _, ns := range []string{stale, used} {
		if err := ip(t.Context(), "netns", "add", ns); err != nil {
			t.Fatal(err)
		}
		defer remove(context.Background(), ns)
	}
	openForTest(t)
	if _, err := os.Stat(filepath.Join(namespaceFiles, stale)); !os.IsNotExist(err) {
		t.Errorf("%s is still there", stale)
	}
	if _, err := os.Stat(filepath.Join(namespaceFiles, used)); err != nil {
		t.Error(err)
	}
}
