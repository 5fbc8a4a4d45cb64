package release

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"npuw/artifact"
	"npuw/pipeline/internal/portable"
)

// The files of a set that say what it is.
const (
	ListingName = "release.json"
	SumsName    = "SHA256SUMS"
)

const (
	format        = "npuw-release"
	formatVersion = 1
	// maxListing bounds release.json and SHA256SUMS, in bytes. Of a Whisper encoder the listing has 60 KB.
	maxListing = 16 << 20
	// Of what a JSON text of that size may hold, since an empty object takes two bytes there and hundreds once it is read.
	maxObjects = 1 << 17
	maxCommas  = 1 << 20
)

// Listing is what release.json says: schema/RELEASE.md defines it. It depends on nothing but what the set was made of.
type Listing struct {
	Format    string     `json:"format"`
	Version   int        `json:"version"`
	Producer  Producer   `json:"producer"`
	Artifacts []Artifact `json:"artifacts"` // by path
	Kernels   []File     `json:"kernels"`   // xclbins and instruction streams, by path
}

// Producer is the program that made the set.
type Producer struct {
	Name            string `json:"name"`
	Revision        uint32 `json:"revision"`         // plan.Revision
	ArtifactVersion int    `json:"artifact_version"` // of .npuw
}

// File is a file of the set. Its path is slash-separated, below the set's folder.
type File struct {
	Path   string `json:"path"`
	Bytes  int64  `json:"bytes"`
	SHA256 Digest `json:"sha256"`
}

// Artifact is one .npuw file, and what it was made of.
type Artifact struct {
	File
	Key        Digest      `json:"key"` // of all that follows and of the producer: the same key, the same bytes
	Family     string      `json:"family"`
	Recipe     Recipe      `json:"recipe"`
	Plan       Digest      `json:"plan"`               // of the index but for what is measured
	Source     Digest      `json:"source"`             // of all parameters
	Contracts  Digest      `json:"contracts,omitzero"` // of the file of kernel contracts; zeros: none
	Parameters []Parameter `json:"parameters"`
	Kernels    []Kernel    `json:"kernels"` // one a contract, in the order of the artifact
	Compressed *File       `json:"compressed,omitempty"`
}

// Recipe is a recipe by its name and what it says.
type Recipe struct {
	Name   string `json:"name"`
	SHA256 Digest `json:"sha256"`
}

// Parameter is a parameter with the digest of its values: the elements in the source's type, little-endian, row-major in the order of
// Axes, wherever and in whatever orientation the source has them.
type Parameter struct {
	Name   string   `json:"name"`
	Axes   string   `json:"axes"`
	Shape  []uint64 `json:"shape"`
	Type   string   `json:"type"`
	SHA256 Digest   `json:"sha256"`
}

// Kernel is a kernel contract with the files of the set that it is about, and the operands that are bound to it.
type Kernel struct {
	Contract     string      `json:"contract"`
	Operation    string      `json:"operation"`
	Kernel       string      `json:"kernel"`
	Xclbin       *KernelFile `json:"xclbin,omitempty"`
	Instructions *KernelFile `json:"instructions,omitempty"`
	Bindings     []Binding   `json:"bindings"`
}

// KernelFile is an xclbin or an instruction stream.
type KernelFile struct {
	Path   string `json:"path"`
	SHA256 Digest `json:"sha256"`
	UUID   string `json:"uuid,omitempty"` // of an xclbin: 32 hexadecimal digits
}

// Binding says that an operand is for an argument of the kernel.
type Binding struct {
	Operand  string `json:"operand"`
	Argument string `json:"argument"`
	Index    uint32 `json:"index"` // of the argument in the kernel's signature
}

// Digest is a SHA-256. Its text is hexadecimal, in lower case.
type Digest [sha256.Size]byte

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText gives 64 digits.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText takes nothing but 64 digits, in lower case.
func (d *Digest) UnmarshalText(text []byte) error {
	if len(text) != 2*len(d) || strings.Trim(string(text), "0123456789abcdef") != "" {
		return fmt.Errorf("%.80q is no SHA-256 of 64 digits in lower case", text)
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// encode gives the bytes of release.json: the same listing, the same bytes.
func (l *Listing) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	err := e.Encode(l)
	return b.Bytes(), err
}

// ParseListing reads a release.json, and checks all of it that can be checked without the files: it must be written as encode
// writes it, byte for byte, its paths must be such as every system takes, sorted and apart, and its keys must be of what it says.
func ParseListing(text []byte) (*Listing, error) {
	if len(text) > maxListing {
		return nil, fmt.Errorf("%d bytes, at most %d are allowed", len(text), maxListing)
	}
	if err := checkCounts(text); err != nil {
		return nil, err
	}
	l := &Listing{}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(l); err != nil {
		return nil, fmt.Errorf("at byte %d: %w", d.InputOffset(), err)
	}
	if l.Format != format || l.Version != formatVersion {
		return nil, fmt.Errorf("it is %.40q version %d, this npuw reads %q version %d; use the npuw that made it", l.Format, l.Version, format, formatVersion)
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, fmt.Errorf("at byte %d: there is more after the end", d.InputOffset())
	}
	if err := l.check(); err != nil {
		return nil, err
	}
	again, err := l.encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(again, text) {
		return nil, fmt.Errorf("it is not written as npuw writes it, from byte %d on", sameBytes(again, text))
	}
	return l, nil
}

// checkCounts refuses JSON that would take far more memory than it has bytes. Whether it is JSON is for the decoder to say.
func checkCounts(text []byte) error {
	objects, commas, quoted := 0, 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++ // the next is not the end
		case !quoted && c == '{':
			objects++
		case !quoted && c == ',':
			commas++
		}
		if objects > maxObjects || commas > maxCommas {
			return fmt.Errorf("at byte %d: more than %d objects, or %d values, which no set of this size has", i, maxObjects, maxCommas)
		}
	}
	return nil
}

// sameBytes is how many bytes two texts begin with alike.
func sameBytes(a, b []byte) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

func (l *Listing) check() error {
	if len(l.Artifacts) == 0 {
		return fmt.Errorf("there are no artifacts")
	}
	if _, err := l.files(); err != nil {
		return err
	}
	kernels := map[string]Digest{}
	for _, f := range l.Kernels {
		kernels[f.Path] = f.SHA256
	}
	used := map[string]bool{}
	for i := range l.Artifacts {
		a := &l.Artifacts[i]
		if source := a.sourceDigest(); source != a.Source {
			return fmt.Errorf("%s: its source is %v, that of its parameters %v", a.Path, a.Source, source)
		}
		if key := a.key(l.Producer); key != a.Key {
			return fmt.Errorf("%s: its key is %v, that of what it was made of %v", a.Path, a.Key, key)
		}
		if a.Compressed != nil && a.Compressed.Path != compressedPath(a.Path) {
			return fmt.Errorf("%s: its compressed form is %q, expected %s", a.Path, a.Compressed.Path, compressedPath(a.Path))
		}
		for _, k := range a.Kernels {
			for _, f := range []*KernelFile{k.Xclbin, k.Instructions} {
				if f == nil {
					continue
				}
				if sum, there := kernels[f.Path]; !there || sum != f.SHA256 {
					return fmt.Errorf("%s: contract %q is for %q with digest %v, which is not among the kernels", a.Path, k.Contract, f.Path, f.SHA256)
				}
				used[f.Path] = true
			}
		}
	}
	for _, f := range l.Kernels {
		if !used[f.Path] {
			return fmt.Errorf("%s: no contract is for it", f.Path)
		}
	}
	return nil
}

// files gives all files that the listing is about, by path. Paths must be sorted, and apart on every system.
func (l *Listing) files() ([]File, error) {
	var all []File
	for i := range l.Artifacts {
		all = append(all, l.Artifacts[i].File)
	}
	for _, list := range [][]File{all, l.Kernels} {
		for i := 1; i < len(list); i++ {
			if list[i-1].Path >= list[i].Path {
				return nil, fmt.Errorf("%.200q stands before %.200q: paths must be sorted", list[i-1].Path, list[i].Path)
			}
		}
	}
	all = append(all, l.Kernels...)
	for _, a := range l.Artifacts {
		if a.Compressed != nil {
			all = append(all, *a.Compressed)
		}
	}
	slices.SortFunc(all, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	folders, names := map[string]string{}, map[string]string{portable.Fold(ListingName): ListingName, portable.Fold(SumsName): SumsName}
	for _, f := range all {
		if err := portable.Check(f.Path); err != nil {
			return nil, fmt.Errorf("the path %.200q %w", f.Path, err)
		}
		if f.Bytes < 0 {
			return nil, fmt.Errorf("%s: %d bytes", f.Path, f.Bytes)
		}
		name := portable.Fold(f.Path)
		if first, taken := names[name]; taken {
			return nil, fmt.Errorf("%s and %s are one file to some systems", first, f.Path)
		}
		names[name] = f.Path
		for i, c := range name {
			if c == '/' {
				folders[name[:i]] = f.Path
			}
		}
	}
	for name, path := range names {
		if in, both := folders[name]; both {
			return nil, fmt.Errorf("%s is a file, and a folder of %s", path, in)
		}
	}
	return all, nil
}

// sums gives the bytes of SHA256SUMS: a line for every file but itself, by path, as sha256sum -c reads it.
func sums(files []File) []byte {
	var b bytes.Buffer
	for _, f := range files {
		fmt.Fprintf(&b, "%v  %s\n", f.SHA256, f.Path)
	}
	return b.Bytes()
}

// parseSums reads a SHA256SUMS as sums writes it.
func parseSums(text []byte) ([]File, error) {
	var files []File
	for line := range strings.Lines(string(text)) {
		var f File
		hash, rest, found := strings.Cut(line, "  ")
		name, ended := strings.CutSuffix(rest, "\n")
		if !found || !ended || f.SHA256.UnmarshalText([]byte(hash)) != nil {
			return nil, fmt.Errorf("line %d is not a digest, two spaces and a path", len(files)+1)
		}
		if f.Path = name; portable.Check(name) != nil || len(files) > 0 && files[len(files)-1].Path >= name {
			return nil, fmt.Errorf("line %d: %.200q is no path that every system takes, or not sorted", len(files)+1, name)
		}
		files = append(files, f)
	}
	return files, nil
}

// withListing adds release.json to the files that SHA256SUMS is about.
func withListing(files []File, listing []byte) []File {
	all := append(slices.Clone(files), File{ListingName, int64(len(listing)), sha256.Sum256(listing)})
	slices.SortFunc(all, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	return all
}

// producer is this program.
func producer(revision uint32) Producer {
	return Producer{Name: "npuw", Revision: revision, ArtifactVersion: artifact.Version}
}
