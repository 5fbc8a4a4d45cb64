package recipe

import (
	"fmt"
	"slices"
	"strings"

	"npuw/pipeline/model"
)

// choice is an operand to be: a rule, and the parameters that its parts take from the model.
type choice struct {
	rule  *rule
	found map[string]string // the words of the rule's pattern
	parts []chosen
}

// chosen are the positions of the parameters that a part names in the model; none where it names none.
type chosen struct{ parameter, bias, gamma, beta, weight int }

const none = -1

// maxOperands is far more than any model has, and keeps what a recipe can make of one within bounds.
const maxOperands = 1 << 16

// chooser finds the parameters that rules take, and remembers by what each is taken.
type chooser struct {
	*Recipe
	model   *model.Model
	names   []string
	number  map[string]int // by name
	takes   []take         // by parameter; the first
	folded  []bool
	choices []choice
}

// take is where a parameter is taken: whole or in slices.
type take struct {
	at     position
	text   string // empty: not taken
	sliced bool
}

// choose finds what each rule takes, in the order of the first parameter of each operand.
func (r *Recipe) choose(m *model.Model) (*chooser, error) {
	c := &chooser{
		Recipe: r, model: m, names: names(m), number: make(map[string]int, len(m.Parameters)),
		takes: make([]take, len(m.Parameters)), folded: make([]bool, len(m.Parameters)),
	}
	for i, name := range c.names {
		if first, twice := c.number[name]; twice {
			return nil, r.doc.fault(position{}, "parameters %d and %d of the model are both named %s", first, i, name)
		}
		c.number[name] = i
	}
	for i := range r.rules {
		for j := range r.rules[i].patterns {
			if err := c.match(&r.rules[i], &r.rules[i].patterns[j]); err != nil {
				return nil, err
			}
		}
	}
	slices.SortStableFunc(c.choices, func(a, b choice) int { return a.parts[0].parameter - b.parts[0].parameter })
	return c, c.checkUntaken()
}

func names(m *model.Model) []string {
	all := make([]string, len(m.Parameters))
	for i := range m.Parameters {
		all[i] = m.Parameters[i].Name
	}
	return all
}

// match makes a choice for each parameter that a pattern matches.
func (c *chooser) match(r *rule, p *pattern) error {
	matched := false
	for k, name := range c.names {
		if len(r.ofAxes) > 0 && !slices.Contains(r.ofAxes, c.model.Parameters[k].Axes) {
			continue
		}
		found, ok := p.match(name)
		if !ok {
			continue
		}
		matched = true
		if len(c.choices) == maxOperands {
			return c.doc.fault(p.at, "more than %d operands up to here", maxOperands)
		}
		choice := choice{r, found, make([]chosen, len(r.parts))}
		for i := range r.parts {
			var err error
			if choice.parts[i], err = c.part(&r.parts[i], found, p, k); err != nil {
				return err
			}
		}
		c.choices = append(c.choices, choice)
	}
	if !matched && !r.optional {
		of := ""
		if len(r.ofAxes) > 0 {
			of = fmt.Sprintf(" with axes %s", strings.Join(r.ofAxes, " or "))
		}
		return c.doc.fault(p.at, "no parameter%s matches %q%s", of, p.text, near(p.symbols(), c.names))
	}
	return nil
}

// part finds what a part takes; its parameter is number k, which the pattern matched, unless it names another.
func (c *chooser) part(p *part, found map[string]string, by *pattern, k int) (chosen, error) {
	to := chosen{k, none, none, none, none}
	var err error
	switch {
	case p.zeros != nil:
		to.parameter = none
	case p.parameter.there():
		if to.parameter, err = c.named(&p.parameter, found); err == nil {
			err = c.take(to.parameter, take{p.parameter.at, p.parameter.text, len(p.slices) > 0})
		}
	default:
		err = c.take(k, take{by.at, by.text, len(p.slices) > 0})
	}
	if err == nil && p.bias.there() {
		if to.bias, err = c.named(&p.bias, found); err == nil {
			axes := c.model.Parameters[to.bias].Axes
			sliced := slices.ContainsFunc(p.slices, func(s axisSlice) bool { return strings.IndexByte(axes, s.axis) >= 0 })
			err = c.take(to.bias, take{p.bias.at, p.bias.text, sliced})
		}
	}
	if err != nil || p.fold == nil {
		return to, err
	}
	for _, f := range []struct {
		name *reference
		to   *int
		gone bool
	}{{&p.fold.gamma, &to.gamma, true}, {&p.fold.beta, &to.beta, true}, {&p.fold.weight, &to.weight, false}} {
		if !f.name.there() {
			continue
		}
		if *f.to, err = c.named(f.name, found); err != nil {
			return to, err
		}
		c.folded[*f.to] = c.folded[*f.to] || f.gone
	}
	return to, nil
}

// named finds the parameter that a reference names.
func (c *chooser) named(r *reference, found map[string]string) (int, error) {
	name := r.expand(found)
	if i, ok := c.number[name]; ok {
		return i, nil
	}
	asked := ""
	if name != r.text {
		asked = fmt.Sprintf(", which %q asks for", r.text)
	}
	return none, c.doc.fault(r.at, "no parameter is named %q%s%s", name, asked, near([]byte(name), c.names))
}

// take records that a parameter is taken. Twice is a fault, unless it is in slices both times: those are compared when they are known.
func (c *chooser) take(k int, t take) error {
	first := &c.takes[k]
	if first.text != "" && !(first.sliced && t.sliced) {
		return c.doc.fault(t.at, "%s is matched by %q here and by %q in line %d", c.names[k], t.text, first.text, first.at.line)
	}
	if first.text == "" {
		*first = t
	}
	return nil
}

// checkUntaken refuses parameters that no rule takes. The place is the end of the last rule, where one can be added.
func (c *chooser) checkUntaken() error {
	var left []string
	for i, name := range c.names {
		if c.takes[i].text == "" && !c.folded[i] {
			left = append(left, name)
		}
	}
	if len(left) == 0 {
		return nil
	}
	others := ""
	if len(left) > 1 {
		others = fmt.Sprintf(" (nor %d others)", len(left)-1)
	}
	return c.doc.fault(c.rules[len(c.rules)-1].block.end, "no rule takes %s%s; write parameter: %q in a rule, or a rule for it",
		left[0], others, generalize(left[0]))
}
