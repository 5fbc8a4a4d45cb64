package recipe

import (
	"cmp"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	generic "npuw/pipeline/model/generic/recipes"
	whisper "npuw/pipeline/model/whisper/recipes"
)

// builtin is a recipe that comes with a family of models, and its text.
type builtin struct {
	recipe *Recipe
	text   []byte
}

// families has the built-in recipes of each package of families, and the names of those that are the default of a family, both in the order
// in which they are listed.
var families = []struct {
	files    embed.FS
	defaults []string
}{
	{whisper.Files, whisper.Defaults},
	{generic.Files, []string{generic.Default}},
}

// builtins parses the built-in recipes: families in the order of their defaults, and of a family the default before the others, which are
// sorted by name.
var builtins = sync.OnceValue(func() []builtin {
	type entry struct {
		builtin
		source int // position in families
		family int // position of its default
		rank   int // 0: the default
	}
	var found []entry
	for i, family := range families {
		paths, err := fs.Glob(family.files, "*.txtpb")
		if err != nil {
			panic(err) // the glob is a constant
		}
		for _, path := range paths {
			text, err := family.files.ReadFile(path)
			if err != nil {
				panic(err) // embedded
			}
			r, err := Parse(path, text)
			if err != nil {
				panic(err) // compiled in; the tests parse it
			}
			r.doc.file = r.Name // what a person knows it by
			of := slices.IndexFunc(family.defaults, func(name string) bool { return strings.HasPrefix(name, r.Family+"/") })
			rank := 1
			if of >= 0 && family.defaults[of] == r.Name {
				rank = 0
			}
			found = append(found, entry{builtin{r, text}, i, of, rank})
		}
	}
	slices.SortFunc(found, func(a, b entry) int {
		return cmp.Or(a.source-b.source, a.family-b.family, a.rank-b.rank, strings.Compare(a.recipe.Name, b.recipe.Name))
	})
	list := make([]builtin, len(found))
	for i := range found {
		list[i] = found[i].builtin
	}
	return list
})

// Builtins returns the built-in recipes, family by family, the default of each before its others, which are sorted by name.
func Builtins() []*Recipe {
	list := builtins()
	recipes := make([]*Recipe, len(list))
	for i := range list {
		recipes[i] = list[i].recipe
	}
	return recipes
}

// BuiltinsFor returns those for models of a family.
func BuiltinsFor(family string) []*Recipe {
	return slices.DeleteFunc(Builtins(), func(r *Recipe) bool { return r.Family != family })
}

// Builtin returns the built-in recipe of a name. The error for a name that there is not lists those that there are, the nearest
// first. Faults that Expand finds give the name as the file.
func Builtin(name string) (*Recipe, error) {
	b, err := find(name)
	return b.recipe, err
}

// BuiltinText returns the protobuf text of a built-in recipe, with comments. Errors are those of Builtin.
func BuiltinText(name string) ([]byte, error) {
	b, err := find(name)
	return slices.Clone(b.text), err
}

func find(name string) (builtin, error) {
	var names []string
	for _, b := range builtins() {
		if b.recipe.Name == name {
			return b, nil
		}
		names = append(names, b.recipe.Name)
	}
	if len(name) <= maxName {
		slices.SortStableFunc(names, func(a, b string) int { return unlike(name, a) - unlike(name, b) })
	}
	return builtin{}, fmt.Errorf("no built-in recipe is named %.100q; there are %s", name, strings.Join(names, ", "))
}

// unlike is how far a name is from that of a recipe, with or without its family.
func unlike(name, recipe string) int {
	_, short, _ := strings.Cut(recipe, "/")
	return min(distance([]byte(name), recipe), distance([]byte(name), short))
}

// Default returns the recipe for models of a family for which none is named.
func Default(family string) (*Recipe, error) {
	var known []string
	for _, b := range builtins() {
		if b.recipe.Family == family {
			return b.recipe, nil
		}
		if !slices.Contains(known, b.recipe.Family) {
			known = append(known, b.recipe.Family)
		}
	}
	return nil, fmt.Errorf("no built-in recipe is for models of family %.100q; there are some for %s", family, strings.Join(known, ", "))
}
