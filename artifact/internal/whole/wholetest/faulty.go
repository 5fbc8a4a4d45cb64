// Package wholetest has a file system on which things go wrong, for tests of what writes with package whole.
package wholetest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"npuw/artifact/internal/whole"
)

// Faulty is the operating system, on which one call goes wrong.
type Faulty struct {
	At    int                     // the number of that call, the first is 1; 0: none
	Fault func(call string) error // happens instead of the call, and gives its error
	Half  bool                    // a write that goes wrong has written half of its bytes before

	os    whole.OS
	mu    sync.Mutex
	calls []string
}

// Kill is a Fault that ends the program as kill -9 does.
func Kill(string) error {
	if self, err := os.FindProcess(os.Getpid()); err == nil {
		_ = self.Kill()
	}
	select {}
}

// Calls are the calls made so far, as "rename .x.npuw-tmp x".
func (s *Faulty) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.calls...)
}

// call counts a call of what is done to the file of a name. wrong says that it is the one, and what came of it.
func (s *Faulty) call(what, name string, before func()) (wrong bool, err error) {
	call := fmt.Sprintf("%s %s", what, filepath.Base(name))
	s.mu.Lock()
	s.calls = append(s.calls, call)
	wrong = len(s.calls) == s.At
	s.mu.Unlock()
	if !wrong {
		return false, nil
	}
	if before != nil && s.Half {
		before()
	}
	return true, s.Fault(call)
}

// Create is a call "create".
func (s *Faulty) Create(name string) (whole.Handle, error) {
	if wrong, err := s.call("create", name, nil); wrong {
		return nil, err
	}
	return s.handle(s.os.Create(name))
}

// Open is a call "open".
func (s *Faulty) Open(name string) (whole.Handle, error) {
	if wrong, err := s.call("open", name, nil); wrong {
		return nil, err
	}
	return s.handle(s.os.Open(name))
}

// ReadDir is a call "list".
func (s *Faulty) ReadDir(name string) ([]fs.DirEntry, error) {
	if wrong, err := s.call("list", name, nil); wrong {
		return nil, err
	}
	return s.os.ReadDir(name)
}

// Stat is a call "stat".
func (s *Faulty) Stat(name string) (fs.FileInfo, error) {
	if wrong, err := s.call("stat", name, nil); wrong {
		return nil, err
	}
	return s.os.Stat(name)
}

// Rename is a call "rename".
func (s *Faulty) Rename(from, to string) error {
	if wrong, err := s.call("rename", from, nil); wrong {
		return err
	}
	return s.os.Rename(from, to)
}

// Remove is a call "remove".
func (s *Faulty) Remove(name string) error {
	if wrong, err := s.call("remove", name, nil); wrong {
		return err
	}
	return s.os.Remove(name)
}

// SyncFolder is a call "sync".
func (s *Faulty) SyncFolder(name string) error {
	if wrong, err := s.call("sync", name, nil); wrong {
		return err
	}
	return s.os.SyncFolder(name)
}

func (s *Faulty) handle(h whole.Handle, err error) (whole.Handle, error) {
	if err != nil {
		return nil, err
	}
	return &faultyHandle{h, s}, nil
}

// faultyHandle is a file of a Faulty.
type faultyHandle struct {
	whole.Handle
	system *Faulty
}

func (h *faultyHandle) ReadAt(b []byte, off int64) (int, error) {
	if wrong, err := h.system.call("read", h.Name(), nil); wrong {
		return 0, err
	}
	return h.Handle.ReadAt(b, off)
}

func (h *faultyHandle) WriteAt(b []byte, off int64) (n int, err error) {
	half := func() { n, _ = h.Handle.WriteAt(b[:len(b)/2], off) }
	if wrong, err := h.system.call("write", h.Name(), half); wrong {
		return n, err
	}
	return h.Handle.WriteAt(b, off)
}

func (h *faultyHandle) Stat() (fs.FileInfo, error) {
	if wrong, err := h.system.call("stat", h.Name(), nil); wrong {
		return nil, err
	}
	return h.Handle.Stat()
}

func (h *faultyHandle) Lock() error {
	if wrong, err := h.system.call("lock", h.Name(), nil); wrong {
		return err
	}
	return h.Handle.Lock()
}

func (h *faultyHandle) Allocate(bytes int64) error {
	half := func() { _ = h.Handle.Allocate(bytes / 2) }
	if wrong, err := h.system.call("allocate", h.Name(), half); wrong {
		return err
	}
	return h.Handle.Allocate(bytes)
}

func (h *faultyHandle) Sync() error {
	if wrong, err := h.system.call("sync", h.Name(), nil); wrong {
		return err
	}
	return h.Handle.Sync()
}

// Close closes the file also where it fails, as the operating system does.
func (h *faultyHandle) Close() error {
	closed := h.Handle.Close
	if wrong, err := h.system.call("close", h.Name(), nil); wrong {
		_ = closed()
		return err
	}
	return closed()
}
