package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// kept is the file of -keep: the runs of one program.
type kept struct {
	path string

	Program string             `json:"program"` // SHA-256
	Series  map[string]*series `json:"series"`  // by workload
}

// openKept reads the file, if there is one. An empty path keeps nothing.
func openKept(path, program string) (*kept, error) {
	k := &kept{path: path, Series: map[string]*series{}}
	if path == "" {
		return k, nil
	}
	text, err := os.ReadFile(program)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(text)
	k.Program = hex.EncodeToString(sum[:])
	text, err = os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, err
	}
	before := kept{}
	if err := json.Unmarshal(text, &before); err != nil {
		return nil, fmt.Errorf("-keep %s: %w", path, err)
	}
	if before.Program != k.Program {
		return nil, fmt.Errorf("-keep %s has runs of another program: name another file, or give the program of those runs with -binary", path)
	}
	k.Series = before.Series
	return k, nil
}

// restore adds the runs of before.
func (k *kept) restore(all []*series) {
	for _, s := range all {
		if before := k.Series[s.Workload]; before != nil {
			s.Runs, s.Invalid = before.Runs, before.Invalid
		}
	}
}

// save writes all runs.
func (k *kept) save(all []*series) error {
	if k.path == "" {
		return nil
	}
	for _, s := range all {
		k.Series[s.Workload] = s
	}
	text, err := json.MarshalIndent(k, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(k.path, text, 0o644)
}
