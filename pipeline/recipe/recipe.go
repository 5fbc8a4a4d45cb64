// Package recipe reads what people write for a build as protobuf text (schema/release.proto): recipes, which say which operands
// a model becomes, kernel contracts, and releases, which list the artifacts to make. A recipe is data; Expand applies it to a model:
//
//	recipe.txtpb --Parse--> Recipe --Expand(model.Model)--> []Operand: name, segment, format, layout, planes, placements
//
// A rule goes through these steps, each in a file of its own:
//
//	choose     which parameters of the model it takes, and that all are taken
//	place      how each, cut by slices and orders, lies on the axes of the operand
//	assemble   its parts one behind the other, biases as one more row; fold: a LayerNorm into them
//	planes     where elements, scales and zeros lie, proved by artifact/plane; tile: that the target can work on it
//	cover      that the slices of each parameter are all of it
//
// The recipes that come with the families of models are in Builtins. Everything wrong is an *Error with file and line; both
// kinds of files may come from anywhere.
package recipe

import (
	"crypto/sha256"
	"regexp"
	"slices"
	"strings"

	"npuw/artifact/target"
	"npuw/schema/releasepb"
)

// Recipe is a checked recipe, made by Parse. It may be shared; nobody changes it.
type Recipe struct {
	Name        string // "whisper-encoder/npu1-tiled"
	Description string // one line
	Family      string // the part of Name before the slash
	PageBytes   uint64 // 4096, 16384 or 65536

	// Target is what tiles are checked against, "npu1"; empty: none is stated.
	Target string

	// Digest is of what the text says; comments, spaces and the file's name do not count.
	Digest [sha256.Size]byte

	doc   *document
	rules []rule
}

// maxPatterns is the most patterns and parts of a recipe, over all rules.
const maxPatterns = 4096

var recipeName = regexp.MustCompile(`^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$`)

// Parse reads and checks a recipe of at most 1 MiB. The file's name is for messages only. What depends on the model (unmatched
// patterns, axes, padding) is checked by Expand. Errors are of type *Error.
func Parse(file string, text []byte) (*Recipe, error) {
	var m releasepb.Recipe
	doc, err := unmarshal(file, text, &m)
	if err != nil {
		return nil, err
	}
	r := &Recipe{Name: m.Name, Description: m.Description, PageBytes: m.PageBytes, Target: m.Target, doc: doc}
	if r.Digest, err = meaning(&m); err != nil {
		return nil, err
	}
	if err := r.checkHead(); err != nil {
		return nil, err
	}
	var npu *target.Target
	if r.Target != "" {
		t, err := target.Lookup(r.Target)
		if err != nil {
			return nil, doc.fault(doc.root.where("target", 0), "%v", err)
		}
		npu = &t
	}
	blocks := doc.root.all("operand")
	if len(blocks) != len(m.Operand) {
		return nil, doc.fault(position{}, "%d operands were read but %d were found in the text", len(m.Operand), len(blocks))
	}
	patterns := 0
	for i, o := range m.Operand {
		if patterns += len(o.Parameter) + len(o.Part); patterns > maxPatterns {
			return nil, doc.fault(blocks[i].at, "more than %d patterns up to here", maxPatterns)
		}
		rule, err := parseRule(doc, blocks[i], o, npu)
		if err != nil {
			return nil, err
		}
		r.rules = append(r.rules, rule)
	}
	return r, nil
}

// KeepsSource reports whether the recipe leaves to the source how numbers of some operand are held: then a source of codes is what it
// is for.
func (r *Recipe) KeepsSource() bool {
	return slices.ContainsFunc(r.rules, func(x rule) bool { return x.encoding.kept })
}

// checkHead checks what stands outside the rules, and sets what follows from it.
func (r *Recipe) checkHead() error {
	root := r.doc.root
	if wrong := checkName(r.Name); wrong != "" {
		return r.doc.fault(root.where("name", 0), "the recipe's name %s; write name: \"FAMILY/NAME\"", wrong)
	}
	if !recipeName.MatchString(r.Name) {
		return r.doc.fault(root.where("name", 0),
			"the recipe's name %q is not FAMILY/NAME, both of letters, digits, dots, dashes and underscores", r.Name)
	}
	r.Family, _, _ = strings.Cut(r.Name, "/")
	if r.Description != "" {
		if wrong := checkName(r.Description); wrong != "" {
			return r.doc.fault(root.where("description", 0), "the description %s; it is one line", wrong)
		}
	}
	if r.PageBytes == 0 {
		r.PageBytes = 4096
	}
	if !slices.Contains([]uint64{4096, 16384, 65536}, r.PageBytes) {
		return r.doc.fault(root.where("page_bytes", 0), "page_bytes is %d, allowed are 4096, 16384 and 65536", r.PageBytes)
	}
	if len(root.all("operand")) == 0 {
		return r.doc.fault(root.end, "the recipe has no rules; write operand { ... }")
	}
	return nil
}
