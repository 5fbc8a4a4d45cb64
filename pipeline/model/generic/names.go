package generic

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"npuw/pipeline/model"
)

// maxName is the most bytes of a parameter's name here; an artifact allows 1024, and recipes put other text around it.
const maxName = 512

// anonymous are the names that exporters and optimizers give to values for which nobody had one: torch.onnx's "onnx::MatMul_123", "123",
// "/layers.0/Constant_output_0" and "val_7", tf2onnx's "const_fold_opt__12", Paddle's "helper.constant.3".
var anonymous = regexp.MustCompile(`(?i)^(/.*|.*::.*|_*(val|const_fold_opt|initializer|tensor|t|v)?_*[0-9]+|(.*[/._])?const(ant)?[._]*[0-9]+(_output_[0-9]+)?)$`)

// candidates are the names that a constant may get.
type candidates struct {
	given, path string // "" where there is none
	claimed     string // given, made legal and unique
}

func candidatesOf(c *constant) candidates {
	n := candidates{path: c.PathName}
	switch {
	case c.Tensor.Stored != "" && c.ValueName != "":
		n.given = c.ValueName // a quantizer has given the codes another
	case !anonymous.MatchString(c.Constant.Name):
		n.given = c.Constant.Name
	default:
		n.given = c.ValueName
	}
	if n.given == "" && n.path == "" {
		n.given = cmp.Or(c.Constant.Name, "constant")
	}
	return n
}

// namer gives each parameter a name of its own that may stand in an artifact. Names that people gave go first: one that is made of a
// path never takes theirs.
type namer struct {
	taken  map[string]bool
	copies map[string]int // how many times a name was asked for again
}

// claim gives each constant that has a name its own.
func (n *namer) claim(list []candidates) {
	for i := range list {
		if list[i].given != "" {
			list[i].claimed = n.unique(list[i].given)
		}
	}
}

// name names p.
func (n *namer) name(p *model.Parameter, c *candidates) {
	p.Name, p.Ways = c.claimed, []model.Way{model.ByTensor}
	asked := c.given
	if asked == "" {
		p.Name, p.Ways, asked = n.unique(c.path), []model.Way{model.ByPath}, c.path
	}
	if p.Name != asked {
		note := fmt.Sprintf("named after %.100q", asked)
		if p.Note != "" {
			note = p.Note + "; " + note
		}
		p.Note = note
	}
}

// unique is name, made legal, with a number behind it if it has been given already.
func (n *namer) unique(name string) string {
	name = legal(name)
	full := name
	for n.taken[full] {
		n.copies[name]++
		full = fmt.Sprintf("%s_%d", name, n.copies[name]+1)
	}
	n.taken[full] = true
	return full
}

// legal is name with what may not stand in an artifact, and all else that does not print, replaced by underscores, cut to maxName.
func legal(name string) string {
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			return '_'
		}
		return r
	}, name)
	if len(name) > maxName {
		end := maxName
		for !utf8.RuneStart(name[end]) {
			end--
		}
		name = name[:end]
	}
	if name == "" {
		return "unnamed"
	}
	return name
}
