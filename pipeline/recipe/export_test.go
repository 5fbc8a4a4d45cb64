package recipe

// For tests outside the package, which may import what imports it.
var (
	Encoder   = encoder
	OddSizes  = oddSizes
	BaseSizes = baseSizes
	Attention = attention

	PartExamples = func() (texts map[string]string) {
		texts = map[string]string{}
		for _, c := range partExamples {
			texts[c.name] = partRecipe(c.rule, c.rest)
		}
		return texts
	}
)
