package arch

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// pkg is what go list says of a package, of npuw or not. Imports leaves tests out; TestImports are those of all its tests.
type pkg struct {
	ImportPath   string
	Name         string
	Dir          string
	Standard     bool
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// graph is every package by its import path.
type graph map[string]pkg

// match reports whether an import path matches any of the patterns.
func match(path string, patterns []string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		expr := regexp.QuoteMeta(pattern)
		if base, ok := strings.CutSuffix(expr, `/\.\.\.`); ok {
			expr = base + `(/.*)?`
		}
		expr = strings.ReplaceAll(expr, `\.\.\.`, `.*`)
		return regexp.MustCompile(`^` + expr + `$`).MatchString(path)
	})
}

// breaches returns a sentence for every way in which packages of the graph break the rule: the imports that lead from one of
// them to what it may not depend on.
func (g graph) breaches(r rule) []string {
	var found []string
	for _, path := range g.paths() {
		if r.covers(path) {
			for _, chain := range g.badChains(r, path) {
				found = append(found, r.says+": "+strings.Join(chain, " imports "))
			}
		}
	}
	return found
}

// badChains returns, for each package that breaks the rule for path, a shortest chain of imports from path to it. Chains end
// at the first fault, and do not go on through the standard library or through packages that the rule covers by themselves.
func (g graph) badChains(r rule, path string) [][]string {
	seen := map[string]bool{path: true}
	queue, bad := [][]string{{path}}, [][]string(nil)
	for len(queue) > 0 {
		chain := queue[0]
		queue = queue[1:]
		for _, to := range g[chain[len(chain)-1]].Imports {
			if seen[to] || g[to].Standard || to == "C" { // cgo's C is no package
				continue
			}
			seen[to] = true
			next := append(slices.Clone(chain), to)
			switch {
			case !r.allows(to):
				bad = append(bad, next)
			case !r.direct && !r.covers(to):
				queue = append(queue, next)
			}
		}
	}
	return bad
}

// covers reports whether the rule is about the package.
func (r rule) covers(path string) bool {
	return match(path, r.of) && !match(path, r.but)
}

// allows reports whether a package that the rule covers may depend on this one, which is not of the standard library.
func (r rule) allows(path string) bool {
	return !match(path, r.never) && (r.only == nil || match(path, r.only))
}

// leaves returns a sentence for every import of a package under a cmd/ from outside that cmd/.
func (g graph) leaves() []string {
	var found []string
	for _, path := range g.paths() {
		for _, to := range g[path].Imports {
			home, _, under := strings.Cut(to, "/cmd/")
			if under && match(to, []string{commands}) && !strings.HasPrefix(path, home+"/cmd/") {
				found = append(found, fmt.Sprintf("packages under a cmd/ are leaves: %s imports %s", path, to))
			}
		}
	}
	return found
}

// badNames returns a sentence for every package of npuw that hides Go's own package runtime.
func (g graph) badNames() []string {
	var found []string
	for _, path := range g.paths() {
		if p := g[path]; match(path, []string{"npuw/..."}) && p.Name == "runtime" {
			found = append(found, path+": no package is named runtime: it would hide Go's")
		}
	}
	return found
}

func (g graph) paths() []string {
	var paths []string
	for path := range g {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	return paths
}
