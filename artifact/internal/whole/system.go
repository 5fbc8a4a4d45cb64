package whole

import (
	"errors"
	"io"
	"io/fs"
	"os"
)

// System is what a File asks of the operating system, one method for each call. It is an interface so that a test can have any of
// them fail, or be the last that the program makes; see package wholetest.
type System interface {
	Create(name string) (Handle, error) // a new file, to be written and read
	Open(name string) (Handle, error)   // the same of one that is there
	ReadDir(name string) ([]fs.DirEntry, error)
	Stat(name string) (fs.FileInfo, error)
	Rename(from, to string) error
	Remove(name string) error
	SyncFolder(name string) error // makes renames in a folder durable
}

// Handle is an open file of a System.
type Handle interface {
	io.ReaderAt
	io.WriterAt
	Name() string
	Stat() (fs.FileInfo, error)
	Lock() error                // takes the file's advisory lock, which ends with the process; ErrHeld when somebody else has it
	Allocate(bytes int64) error // reserves so many zero bytes
	Sync() error
	Close() error
}

// ErrHeld is the error of a lock that another open file has.
var ErrHeld = errors.New("locked by another program")

// OS is the operating system itself.
type OS struct{}

// Create opens a new file with what the umask leaves of -rw-rw-rw-.
func (OS) Create(name string) (Handle, error) { return open(name, os.O_CREATE|os.O_EXCL) }

// Open opens a file that is there.
func (OS) Open(name string) (Handle, error) { return open(name, 0) }

func open(name string, flags int) (Handle, error) {
	f, err := os.OpenFile(name, os.O_RDWR|flags, 0o666)
	if err != nil {
		return nil, err
	}
	return handle{f}, nil
}

// ReadDir lists a folder.
func (OS) ReadDir(name string) ([]fs.DirEntry, error) { return os.ReadDir(name) }

// Stat asks what a path leads to.
func (OS) Stat(name string) (fs.FileInfo, error) { return os.Stat(name) }

// Rename puts a file in place of another, or where none is.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// Remove removes a file.
func (OS) Remove(name string) error { return os.Remove(name) }

// SyncFolder makes renames in a folder durable. Some file systems do not sync folders and need not.
func (OS) SyncFolder(name string) error { return syncFolder(name) }

// handle is a file of the operating system.
type handle struct{ *os.File }

func (h handle) Lock() error { return lock(h.File) }

func (h handle) Allocate(bytes int64) error { return allocate(h.File, bytes) }
