package recipe

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"npuw/pipeline/model"
)

// wrongError says what is wrong with an error, or nothing.
func wrongError(err error, text []byte) string {
	var e *Error
	if !errors.As(err, &e) {
		return "the error is no *Error: " + err.Error()
	}
	if lines := bytes.Count(text, []byte("\n")) + 1; e.Line < 0 || e.Line > lines || e.Column < 0 {
		return fmt.Sprintf("line %d:%d of %d: %v", e.Line, e.Column, lines, err)
	}
	if e.Message == "" || len(e.Message) > 1100 || bytes.ContainsAny([]byte(e.Message), "\n\x00\x1b") {
		return fmt.Sprintf("message %q", e.Message)
	}
	return ""
}

func FuzzParse(f *testing.F) {
	for _, r := range Builtins() {
		text, err := BuiltinText(r.Name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	for _, c := range parseErrors {
		if len(c.text) < 1<<12 { // the fuzzer takes long over long ones
			f.Add([]byte(c.text))
		}
	}
	for _, c := range expandErrors {
		f.Add([]byte(c.text))
	}
	f.Add([]byte(convRecipe))
	for _, c := range partExamples {
		f.Add([]byte(partRecipe(c.rule, c.rest)))
	}
	for _, c := range partExpandErrors {
		f.Add([]byte(c.text + others(c.rest)))
	}
	for _, c := range planeExamples {
		f.Add([]byte("name: 'test/a' operand { parameter: 'l.{i}.*.weight' axes: 'KN' segment: 's' " + c.fields + " }" + others("norm.weight norm.bias q.bias v.bias conv")))
	}
	for _, c := range kindRecipes {
		f.Add([]byte(`name: "test/a" ` + c.rules))
	}
	for _, c := range keepExamples {
		f.Add([]byte(keepRecipe(c.fields)))
	}
	models := []*model.Model{encoder(oddSizes), matrices(), attention(), keepModel(`"grouped"`), keepModel(`"taps"`), keepModel(`"grouped" "turned" "whole"`)}
	f.Fuzz(func(t *testing.T, text []byte) {
		scan(text) // ends, whatever the text
		r, err := Parse("fuzz", text)
		if err != nil {
			if wrong := wrongError(err, text); wrong != "" {
				t.Fatal(wrong)
			}
			return
		}
		for _, rule := range r.rules {
			if rule.block.at.line == 0 || rule.block.end.line < rule.block.at.line {
				t.Fatalf("a rule stands at %v to %v", rule.block.at, rule.block.end)
			}
		}
		for _, m := range models {
			m := &model.Model{Family: r.Family, Attributes: m.Attributes, Parameters: m.Parameters}
			operands, err := r.Expand(m)
			if err != nil {
				if wrong := wrongError(err, text); wrong != "" {
					t.Fatal(wrong)
				}
				continue
			}
			if wrong := wrongOperands(operands, m); wrong != "" {
				t.Fatal(wrong)
			}
		}
	})
}

func FuzzParseRelease(f *testing.F) {
	f.Add([]byte(twoArtifacts))
	for _, c := range releaseErrors {
		if len(c.text) < 1<<12 {
			f.Add([]byte(c.text))
		}
	}
	for _, r := range Builtins() {
		f.Add([]byte(fmt.Sprintf("artifact { source: \"m.onnx\" recipe: %q output: \"o/m.npuw\" }", r.Name)))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		release, err := ParseRelease("fuzz", text)
		if err != nil {
			if wrong := wrongError(err, text); wrong != "" {
				t.Fatal(wrong)
			}
			return
		}
		line := 0
		for _, a := range release.Artifacts {
			if len(a.Sources) == 0 || checkOutput(a.Output) != nil || a.Line < max(line, 1) {
				t.Fatalf("%+v after line %d", a, line)
			}
			line = a.Line
		}
	})
}
