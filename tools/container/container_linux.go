package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The steps of the command inside, named by its first argument: it starts itself again for each. The second is the control group.
const (
	stepEnter = "@enter" // as root: join the control group, give up everything, become stepProbe
	stepProbe = "@probe" // prove the conditions, become the program
)

// nobody is the user and the group of the program.
const nobody = 65534

func run(args []string) error {
	switch {
	case args[0] == stepEnter:
		return enter(args[1], args[2:])
	case args[0] == stepProbe:
		return probe(args[1], args[2:])
	}
	base, err := available()
	if err != nil || args[0] == "-check" {
		return err
	}
	g, err := base.create(fmt.Sprintf("godwit-container-%d", os.Getpid()))
	if err != nil {
		return err
	}
	err = contain(g, args)
	needed, more := g.report()
	fmt.Fprintln(os.Stderr, "container:", needed)
	return errors.Join(err, more, g.remove())
}

// available finds where control groups can be made and looks whether everything else is allowed too.
func available() (group, error) {
	var lacks []string
	if os.Geteuid() != 0 {
		lacks = append(lacks, fmt.Sprintf("to be root (the user is %d)", os.Geteuid()))
	}
	if auditArch() == 0 {
		lacks = append(lacks, "a seccomp filter for this processor")
	}
	for _, c := range []struct {
		bit  int
		name string
	}{{unix.CAP_SETUID, "CAP_SETUID"}, {unix.CAP_SETGID, "CAP_SETGID"}, {unix.CAP_SETPCAP, "CAP_SETPCAP"}} {
		if held, err := capabilities("CapEff"); err == nil && held&(1<<c.bit) == 0 {
			lacks = append(lacks, c.name)
		}
	}
	base, err := findBase("/")
	if err != nil {
		lacks = append(lacks, err.Error())
	}
	if len(lacks) > 0 {
		return group{}, missing("a container needs " + strings.Join(lacks, ", and "))
	}
	return base, nil
}

// contain runs the program in the group and waits for its end.
func contain(g group, args []string) error {
	dir, err := os.MkdirTemp("", "godwit-container-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	home := filepath.Join(dir, "home")
	if err := errors.Join(os.Chmod(dir, 0o755), os.Mkdir(home, 0o700), os.Chown(home, nobody, nobody)); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// Where they lie the user nobody may not be let in.
	inner, program := filepath.Join(dir, "container"), filepath.Join(dir, filepath.Base(args[0]))
	if err := errors.Join(fresh(inner, self), fresh(program, args[0])); err != nil {
		return err
	}
	cmd := exec.Command(inner, append([]string{stepEnter, g.String(), program}, args[1:]...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), "HOME="+home, "TMPDIR="+home, "XDG_CACHE_HOME=", "XDG_STATE_HOME=", "XDG_CONFIG_HOME=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // what go test sends, it sends to this process
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // it may have ended by now
		case err := <-done:
			_ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) // what it left behind would keep the group
			return err
		}
	}
}

// fresh copies a program and has the kernel forget the copy's pages, so that they count for the group that reads them again.
func fresh(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	err = errors.Join(err, out.Chmod(0o755), out.Sync(), unix.Fadvise(int(out.Fd()), 0, 0, unix.FADV_DONTNEED))
	return errors.Join(err, out.Close())
}
