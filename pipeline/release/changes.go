package release

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"npuw/pipeline/plan"
)

// State is what a build would do with an artifact.
type State string

// The states.
const (
	UpToDate State = "up to date"      // the one of the last set is taken over
	Finished State = "finished"        // the one of an earlier try is taken over
	Compress State = "compress"        // the same, and its compressed form is made
	Rebuild  State = "rebuild"         // it is made
	Removed  State = "no longer named" // the last set has it, the next will not
)

// Change is what a build would do with an artifact, and why.
type Change struct {
	Path  string   `json:"path"` // in the set
	State State    `json:"state"`
	Why   []string `json:"why"` // of all but what is taken over: at least one reason
}

// maxReasons is how many parameters Changes names, one by one.
const maxReasons = 3

// Changes says what Build would make, and why, and makes nothing. A folder that Build would not replace is an error. Weights are read where
// the cache does not know them.
func Changes(ctx context.Context, opts Options) ([]Change, error) {
	m, err := readManifest(opts.Manifest)
	if err != nil {
		return nil, err
	}
	out, err := resolve(opts.Out)
	if err != nil {
		return nil, err
	}
	last, err := readPublished(out)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkMount(out), last.checkOurs(m.outputs())); err != nil {
		return nil, err // which Build would say
	}
	dir := WorkFolder(out)
	w := &workFolder{dir: dir, set: filepath.Join(dir, "set"), kept: readKept(filepath.Join(dir, keptName))}
	b := &builder{Options: opts, manifest: m, work: w, last: last, cache: openCache(opts.Cache)}
	defer b.cache.save()
	var list []Change
	for i := range m.Artifacts {
		c, err := b.change(ctx, i)
		if err != nil {
			return nil, m.fault(&m.Artifacts[i], err)
		}
		list = append(list, c)
	}
	if last.listing != nil {
		for _, a := range last.listing.Artifacts {
			if !slices.Contains(m.outputs(), a.Path) {
				list = append(list, Change{a.Path, Removed, []string{"the manifest does not name it"}})
			}
		}
	}
	return list, nil
}

// change says what would be done with an artifact of the manifest.
func (b *builder) change(ctx context.Context, i int) (Change, error) {
	a := &b.manifest.Artifacts[i]
	build, err := b.manifest.prepare(a)
	if err != nil {
		return Change{}, err
	}
	defer build.Close()
	entry, _, err := describeBuild(ctx, b.cache, build, a.Output)
	if err != nil {
		return Change{}, err
	}
	digests, err := sourceDigests{b.cache, build}.all(ctx)
	if err != nil {
		return Change{}, err
	}
	entry.setValues(digests)
	c := Change{Path: entry.Path, State: Rebuild, Why: []string{}}
	if p, found := b.reuse(ctx, entry); found {
		if c.State = Finished; p.from != "" {
			c.State = UpToDate
		}
		if f, _, _ := b.compressed(ctx, &p); a.Compress && f == nil {
			c.State, c.Why = Compress, []string{"it is there, its compressed form is not"}
		}
		return c, nil
	}
	c.Why = b.reasons(&entry)
	return c, nil
}

// reasons says why an artifact that is not there has to be made.
func (b *builder) reasons(entry *Artifact) []string {
	if b.last.listing == nil {
		return []string{"there is no set yet"}
	}
	at := slices.IndexFunc(b.last.listing.Artifacts, func(a Artifact) bool { return a.Path == entry.Path })
	if at < 0 {
		return []string{"it is new"}
	}
	was := &b.last.listing.Artifacts[at]
	if was.Key == entry.Key {
		if _, err := plainFile(b.last.dir, was.Path); err != nil {
			return []string{"its file is missing"}
		}
		return []string{"its file is damaged"}
	}
	var why []string
	add := func(changed bool, format string, args ...any) {
		if changed {
			why = append(why, fmt.Sprintf(format, args...))
		}
	}
	p, q := producer(plan.Revision), b.last.listing.Producer
	add(p.Revision != q.Revision, "npuw's revision is %d, it was %d", p.Revision, q.Revision)
	add(p.ArtifactVersion != q.ArtifactVersion || p.Name != q.Name, "the version of .npuw is %d, it was %d", p.ArtifactVersion, q.ArtifactVersion)
	add(entry.Recipe.Name != was.Recipe.Name, "the recipe is %s, it was %s", entry.Recipe.Name, was.Recipe.Name)
	add(entry.Recipe.Name == was.Recipe.Name && entry.Recipe.SHA256 != was.Recipe.SHA256, "recipe %s has changed", entry.Recipe.Name)
	add(entry.Contracts != was.Contracts, "the kernel contracts have changed")
	why = append(why, kernelReasons(entry.Kernels, was.Kernels)...)
	why = append(why, parameterReasons(entry.Parameters, was.Parameters)...)
	if len(why) == 0 {
		add(true, "sizes of the model or how npuw plans have changed")
	}
	return why
}

// kernelReasons names contracts whose files have changed.
func kernelReasons(now, before []Kernel) (why []string) {
	for _, k := range now {
		i := slices.IndexFunc(before, func(b Kernel) bool { return b.Contract == k.Contract })
		if i < 0 {
			continue // the contracts have changed
		}
		if k.Xclbin.sum() != before[i].Xclbin.sum() {
			why = append(why, fmt.Sprintf("the xclbin of contract %q has changed", k.Contract))
		}
		if k.Instructions.sum() != before[i].Instructions.sum() {
			why = append(why, fmt.Sprintf("the instructions of contract %q have changed", k.Contract))
		}
	}
	return why
}

// parameterReasons names parameters that have changed.
func parameterReasons(now, before []Parameter) (why []string) {
	old := map[string]*Parameter{}
	for i := range before {
		old[before[i].Name] = &before[i]
	}
	count := 0
	say := func(name, what string) {
		if count++; count <= maxReasons {
			why = append(why, fmt.Sprintf("parameter %s %s", name, what))
		}
	}
	for _, p := range now {
		was := old[p.Name]
		delete(old, p.Name)
		switch {
		case was == nil:
			say(p.Name, "is new")
		case !slices.Equal(p.Shape, was.Shape) || p.Axes != was.Axes:
			say(p.Name, fmt.Sprintf("has shape %d, it had %d", p.Shape, was.Shape))
		case p.Type != was.Type:
			say(p.Name, fmt.Sprintf("is %s, it was %s", p.Type, was.Type))
		case p.SHA256 != was.SHA256:
			say(p.Name, "has other values")
		}
	}
	for _, p := range before {
		if old[p.Name] != nil {
			say(p.Name, "is no longer there")
		}
	}
	if count > maxReasons {
		why = append(why, fmt.Sprintf("and %d more parameters", count-maxReasons))
	}
	return why
}

// PrintChanges writes what Changes says: for people, or with asJSON an array for programs.
func PrintChanges(w io.Writer, list []Change, asJSON bool) error {
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(list)
	}
	for _, c := range list {
		if _, err := fmt.Fprintf(w, "%s: %s\n", c.Path, c.State); err != nil {
			return err
		}
		for _, why := range c.Why {
			if _, err := fmt.Fprintf(w, "  %s\n", why); err != nil {
				return err
			}
		}
	}
	return nil
}
