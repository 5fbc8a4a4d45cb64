package release

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A cache remembers the digests of what files hold, so that what has not changed is not read again:
//
//	device, inode, size, times of all files -> what was digested -> SHA-256
//
// What a build makes never depends on it. It may be deleted at any time; one that is damaged is as one that is not there. A file that was
// changed at nearly the time at which it was read is not remembered, as a later change could have the same time.
//
// A nil cache remembers nothing.
type cache struct {
	path string
	now  func() time.Time

	mu      sync.Mutex
	entries map[string]*cached
	changed bool
}

// cached is what is known of some files.
type cached struct {
	Used    int64             `json:"used"` // in seconds since 1970, to the day
	Digests map[string]Digest `json:"digests"`
}

const (
	cacheFirst = "npuw digests 1\n"
	maxCache   = 64 << 20 // bytes of the file
	maxCached  = 1000     // entries that are kept, those used last
	// racy is within what time before it is read a change of a file is too recent: the coarsest clock of a file system, FAT's.
	racy = 2 * time.Second
)

// identity is what changes when a file does.
type identity struct {
	device, inode    uint64
	size             int64
	modified, status int64 // times of the last change of its content and of its inode, in nanoseconds since 1970
}

// openCache reads the cache at path; empty: there is none.
func openCache(path string) *cache {
	if path == "" {
		return nil
	}
	c := &cache{path: path, now: time.Now, entries: map[string]*cached{}}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxCache {
		return c
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return c
	}
	first, body, _ := bytes.Cut(b, []byte("\n"))
	want, body, _ := bytes.Cut(body, []byte("\n"))
	sum := sha256.Sum256(body)
	if string(first)+"\n" != cacheFirst || string(want) != Digest(sum).String() {
		return c
	}
	entries := map[string]*cached{}
	if json.Unmarshal(body, &entries) != nil {
		return c
	}
	for key, e := range entries {
		if e != nil && e.Digests != nil {
			c.entries[key] = e
		}
	}
	return c
}

// save writes the cache, if it has learnt something. Who cannot write it does without.
func (c *cache) save() {
	if c == nil || !c.changed {
		return
	}
	keys := make([]string, 0, len(c.entries))
	for key := range c.entries {
		keys = append(keys, key)
	}
	slices.SortFunc(keys, func(a, b string) int {
		return cmp.Or(cmp.Compare(c.entries[b].Used, c.entries[a].Used), strings.Compare(a, b))
	})
	for i := maxCached; i < len(keys); i++ {
		delete(c.entries, keys[i])
	}
	body, err := json.Marshal(c.entries)
	if err != nil || len(body) > maxCache {
		return
	}
	sum := Digest(sha256.Sum256(body))
	text := slices.Concat([]byte(cacheFirst), []byte(sum.String()+"\n"), body)
	if os.MkdirAll(filepath.Dir(c.path), 0o777) != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(c.path), filepath.Base(c.path)+".tmp-*")
	if err != nil {
		return
	}
	_, err = f.Write(text)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), c.path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
}

// files is what some files are now: "" if that cannot be told here, and then nothing is remembered of them.
func (c *cache) files(infos ...fs.FileInfo) (key string, latest time.Time) {
	if c == nil {
		return "", latest
	}
	var b strings.Builder
	for _, info := range infos {
		id, ok := identityOf(info)
		if !ok {
			return "", latest
		}
		fmt.Fprintf(&b, "%x:%x:%x:%x:%x ", id.device, id.inode, id.size, id.modified, id.status)
		if t := time.Unix(0, max(id.modified, id.status)); t.After(latest) {
			latest = t
		}
	}
	return b.String(), latest
}

// get looks up what was digested of files; what is "" where it cannot be told.
func (c *cache) get(files, what string) (Digest, bool) {
	if c == nil || files == "" || what == "" {
		return Digest{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[files]
	if e == nil {
		return Digest{}, false
	}
	d, ok := e.Digests[what]
	if today := c.today(); ok && e.Used < today {
		e.Used, c.changed = today, true
	}
	return d, ok
}

// put remembers a digest of files that were last changed at latest and read from began on.
func (c *cache) put(files string, latest, began time.Time, what string, d Digest) {
	if c == nil || files == "" || what == "" || latest.After(began.Add(-racy)) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entries[files]
	if e == nil {
		e = &cached{Digests: map[string]Digest{}}
		c.entries[files] = e
	}
	e.Used, e.Digests[what], c.changed = c.today(), d, true
}

func (c *cache) today() int64 { return c.now().Unix() / 86400 * 86400 }

// time is when something begins.
func (c *cache) time() time.Time {
	if c == nil {
		return time.Time{}
	}
	return c.now()
}
