package weights

import (
	"fmt"
	"go/build"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/magefile/mage/parse"
	"go.yaml.in/yaml/v4"
)

// github is as much of a workflow as the example may use. A key that is not here is an error:
// https://docs.github.com/actions/reference/workflows-and-actions/workflow-syntax has the others.
type github struct {
	Name string
	On   struct {
		Push struct {
			Branches, Tags []string
		}
		PullRequest *struct{} `yaml:"pull_request"`
	}
	Permissions map[string]string
	Jobs        map[string]struct {
		RunsOn  string `yaml:"runs-on"`
		Timeout int    `yaml:"timeout-minutes"`
		Steps   []githubStep
	}
}

type githubStep struct {
	Name, Uses, Run string
	With            map[string]any
}

// gitlab is as much of a pipeline as the example may use; what is no keyword at the top is a job:
// https://docs.gitlab.com/ci/yaml/ has the other keys.
type gitlab struct {
	Jobs map[string]gitlabJob `yaml:",inline"`
}

type gitlabJob struct {
	Image, Timeout string
	Variables      map[string]string
	Cache          struct {
		Key   struct{ Files []string }
		Paths []string
	}
	Script    []string
	Artifacts struct {
		Name     string
		Paths    []string
		ExpireIn string `yaml:"expire_in"`
	}
}

// actionInputs are what the example gives to each action, sorted. GitHub only warns of a name that an action does not know.
var actionInputs = map[string][]string{
	"actions/checkout":        {"lfs", "submodules"},
	"actions/setup-go":        {"cache-dependency-path", "go-version-file"},
	"actions/upload-artifact": {"if-no-files-found", "name", "path"},
}

var (
	// A tag of an action can be moved, so it is named by its commit. The comment after it says which version that is.
	pinnedAction = regexp.MustCompile(`(?m)^ +- uses: [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$`)
	pinnedRunner = regexp.MustCompile(`^ubuntu-\d\d\.04$`)
)

// githubCommands checks a workflow and returns what it runs, in order.
func githubCommands(text []byte) ([]string, error) {
	var w github
	if err := yaml.Load(text, &w, yaml.WithKnownFields()); err != nil {
		return nil, err
	}
	if len(w.Jobs) != 1 || !maps.Equal(w.Permissions, map[string]string{"contents": "read"}) {
		return nil, fmt.Errorf("%d jobs that may %v, want one that may read", len(w.Jobs), w.Permissions)
	}
	var commands, uses []string
	for name, job := range w.Jobs {
		if !pinnedRunner.MatchString(job.RunsOn) || job.Timeout <= 0 {
			return nil, fmt.Errorf("job %s: runs on %q for %d minutes, want a version of Ubuntu and a limit", name, job.RunsOn, job.Timeout)
		}
		for i, s := range job.Steps {
			if err := s.check(); err != nil {
				return nil, fmt.Errorf("job %s, step %d: %w", name, i, err)
			}
			if s.Run != "" {
				commands = append(commands, s.Run)
			} else {
				action, _, _ := strings.Cut(s.Uses, "@")
				uses = append(uses, action)
			}
		}
	}
	if want := slices.Sorted(maps.Keys(actionInputs)); !slices.Equal(uses, want) { // which is also their order
		return nil, fmt.Errorf("uses %q, want %q", uses, want)
	}
	if found := pinnedAction.FindAll(text, -1); len(found) != len(uses) {
		return nil, fmt.Errorf("%d of %d actions are named by commit and version", len(found), len(uses))
	}
	return commands, nil
}

func (s githubStep) check() error {
	if (s.Uses == "") == (s.Run == "") {
		return fmt.Errorf("uses %q and runs %q: want one of both", s.Uses, s.Run)
	}
	action, _, _ := strings.Cut(s.Uses, "@")
	if given := slices.Sorted(maps.Keys(s.With)); !slices.Equal(given, actionInputs[action]) {
		return fmt.Errorf("%q is given %q, want %q", action, given, actionInputs[action])
	}
	for input, value := range s.With {
		if want, ok := map[string]any{"path": DefaultOut + "/", "go-version-file": "go.mod", "submodules": true}[input]; ok && value != want {
			return fmt.Errorf("%s is %v, want %v", input, value, want)
		}
	}
	return nil
}

// gitlabCommands checks a pipeline and returns what it runs, in order. goVersion is as 1.26.
func gitlabCommands(text []byte, goVersion string) ([]string, error) {
	var p gitlab
	if err := yaml.Load(text, &p, yaml.WithKnownFields()); err != nil {
		return nil, err
	}
	if len(p.Jobs) != 1 {
		return nil, fmt.Errorf("%d jobs, want one", len(p.Jobs))
	}
	var commands []string
	for name, job := range p.Jobs {
		if want := "golang:" + goVersion; job.Image != want {
			return nil, fmt.Errorf("job %s: image %q, want %q as in go.mod", name, job.Image, want)
		}
		if !slices.Equal(job.Artifacts.Paths, []string{DefaultOut + "/"}) || job.Artifacts.ExpireIn == "" {
			return nil, fmt.Errorf("job %s: artifacts %+v, want %s/ for some time", name, job.Artifacts, DefaultOut)
		}
		for _, v := range []string{"GOMODCACHE", "GOCACHE"} {
			below, ok := strings.CutPrefix(job.Variables[v], "$CI_PROJECT_DIR/")
			if !ok || !slices.ContainsFunc(job.Cache.Paths, func(p string) bool { return strings.HasPrefix(below, p) }) {
				return nil, fmt.Errorf("job %s: %s is %q, which is not in the cache %q", name, v, job.Variables[v], job.Cache.Paths)
			}
		}
		if job.Variables["GIT_SUBMODULE_STRATEGY"] == "" || !slices.Equal(job.Cache.Key.Files, []string{"go.sum"}) {
			return nil, fmt.Errorf("job %s: want submodules fetched, and a cache for each go.sum", name)
		}
		commands = append(commands, job.Script...)
	}
	return commands, nil
}

// target is what a mage target takes: so many arguments, and flags ("-out").
type target struct {
	args  int
	flags []string
}

// mageArgs are what a command gives to mage: a target that this package has, with arguments and flags of it.
func mageArgs(command string, targets map[string]target) ([]string, error) {
	line, ok := strings.CutPrefix(command, "go tool mage ")
	args := strings.Split(line, " ")
	to, known := targets[args[0]]
	if !ok || !known {
		return nil, fmt.Errorf("%q: want go tool mage and one of %q", command, slices.Sorted(maps.Keys(targets)))
	}
	given := 0
	for _, arg := range args[1:] {
		flag, value, _ := strings.Cut(arg, "=")
		switch {
		case !strings.HasPrefix(arg, "-"):
			given++
		case value == "" || !slices.Contains(to.flags, flag):
			return nil, fmt.Errorf("%q: %s is none of the flags %q with its value", command, arg, to.flags)
		}
	}
	if given != to.args {
		return nil, fmt.Errorf("%q: %d arguments, want %d", command, given, to.args)
	}
	return args, nil
}

// ownTargets are the targets of this package, as mage sees them.
func ownTargets(t *testing.T) map[string]target {
	t.Helper()
	pkg, err := build.ImportDir(".", 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := parse.Package(".", pkg.GoFiles, false)
	if err != nil {
		t.Fatal(err)
	}
	targets := map[string]target{}
	for _, f := range info.Funcs {
		x := target{args: len(f.RequiredArgs())}
		for _, a := range f.OptionalArgs() {
			x.flags = append(x.flags, "-"+a.Name)
		}
		targets[strings.ToLower(f.TargetName())] = x
	}
	return targets
}

// examples returns what mage is given by each example, in order, and fails where one is not as it should be.
func examples(t *testing.T) map[string][][]string {
	t.Helper()
	found := map[string][][]string{}
	for _, name := range []string{"github.yml", "gitlab.yml"} {
		calls, err := mageCalls(t, name, read(t, filepath.Join("examples", name)))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found[name] = calls
	}
	return found
}

// mageCalls checks an example and returns what mage is given by it, in order.
func mageCalls(t *testing.T, name string, text []byte) ([][]string, error) {
	t.Helper()
	var commands []string
	var err error
	if name == "github.yml" {
		commands, err = githubCommands(text)
	} else {
		_, minor := goVersion(t)
		commands, err = gitlabCommands(text, minor)
	}
	if err != nil {
		return nil, err
	}
	targets := ownTargets(t)
	var calls [][]string
	for _, command := range commands {
		args, err := mageArgs(command, targets)
		if err != nil {
			return nil, err
		}
		calls = append(calls, args)
	}
	return calls, nil
}

// goVersion is that of npuw's go.mod, as 1.26.0, and without the last number.
func goVersion(t *testing.T) (full, minor string) {
	t.Helper()
	m := regexp.MustCompile(`(?m)^go ((\d+\.\d+)\S*)$`).FindStringSubmatch(string(read(t, filepath.Join("..", "..", "go.mod"))))
	if m == nil {
		t.Fatal("go.mod names no version of Go")
	}
	return m[1], m[2]
}

func TestExamples(t *testing.T) {
	t.Parallel()
	found := examples(t)
	for name, calls := range found {
		for _, want := range []string{"build:weights", "release:verify"} {
			if !slices.ContainsFunc(calls, func(args []string) bool { return args[0] == want }) {
				t.Errorf("%s: %q leaves out %s", name, calls, want)
			}
		}
	}
	files, err := os.ReadDir("examples")
	if err != nil || len(files) != len(found) {
		t.Errorf("%d files in examples and %d looked at, %v", len(files), len(found), err)
	}
}

// The checks of the examples fail for what would fail, or be ignored, where the examples are used.
func TestExamplesDamaged(t *testing.T) {
	t.Parallel()
	for _, x := range []struct{ file, old, new, want string }{
		{"github.yml", "runs-on:", "run-on:", "run-on"},
		{"github.yml", "ubuntu-24.04", "ubuntu-latest", "ubuntu-latest"},
		{"github.yml", "submodules:", "submodule:", `want ["lfs" "submodules"]`},
		{"github.yml", "          lfs:", "          #", `want ["lfs" "submodules"]`},
		{"github.yml", "go-version-file: go.mod", "go-version-file: .go-version", "want go.mod"},
		{"github.yml", "@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a", "@v7", "2 of 3 actions"},
		{"github.yml", "path: dist/", "path: out/", "want dist/"},
		{"github.yml", "contents: read", "contents: write", "may read"},
		{"github.yml", "run: go tool", "uses: a\n        run: go tool", "one of both"},
		{"github.yml", "build:weights", "build:weight", "build:weight"},
		{"github.yml", "weights -release=", "weights -releases=", "-releases="},
		{"github.yml", "\n  pull_request:", "\n  push:", "push"},
		{"gitlab.yml", "script:", "scripts:", "scripts"},
		{"gitlab.yml", "golang:1.26", "golang:latest", "golang:latest"},
		{"gitlab.yml", "[dist/]", "[out/]", "out/"},
		{"gitlab.yml", "[.cache/]", "[cache/]", "not in the cache"},
		{"gitlab.yml", "GIT_SUBMODULE_STRATEGY: normal", "A: b", "submodules"},
		{"gitlab.yml", "build:weights", "ci", "one of"},
		{"gitlab.yml", "release:verify dist", "release:verify", "0 arguments, want 1"},
		{"gitlab.yml", "  image", " image", "mapping values"},
	} {
		t.Run(x.file+" "+x.new, func(t *testing.T) {
			t.Parallel()
			text := string(read(t, filepath.Join("examples", x.file)))
			damaged := strings.Replace(text, x.old, x.new, 1)
			if damaged == text {
				t.Fatalf("%q is not there", x.old)
			}
			_, err := mageCalls(t, x.file, []byte(damaged))
			if err == nil || !strings.Contains(err.Error(), x.want) {
				t.Errorf("got %v, want an error with %q", err, x.want)
			}
		})
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
