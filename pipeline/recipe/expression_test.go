package recipe

import (
	"math"
	"strings"
	"testing"

	"npuw/pipeline/model"
)

func sized(width, heads int64) *model.Model {
	return &model.Model{Attributes: []model.Attribute{
		{Name: "layers", Int: 6}, {Name: "d_model", Int: width}, {Name: "heads", Int: heads}, {Name: "eps", Real: 1e-5, IsReal: true},
	}}
}

func TestExpression(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]float64{
		"1":                             1,
		"0.125":                         0.125,
		"2e-3":                          2e-3,
		"-1.5E+2":                       -150,
		"head_dim^-0.5":                 0.125,
		"head_dim":                      64,
		"heads":                         8,
		"2*d_model^0.5":                 2 * math.Sqrt(512),
		"2 * d_model ^ 0.5 / heads ^ 2": 2 * math.Sqrt(512) / 64,
		"d_model^1.5":                   512 * math.Sqrt(512),
		"d_model^0":                     1,
		"heads/d_model":                 8.0 / 512,
		"-heads^2":                      -64,
		"2/3/5":                         2.0 / 3 / 5,
		"3*0.1*0.1":                     float64(float64(3*tenth) * tenth),
		"d_model^-1":                    1.0 / 512,
		"3^-2.5":                        1 / (float64(9) * math.Sqrt(3)),
	} {
		e, err := parseExpression(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got, err := e.value(sized(512, 8)); err != nil || got != want {
			t.Errorf("%q: %v (%x), %v, want %v (%x)", text, got, math.Float64bits(got), err, want, math.Float64bits(want))
		}
	}
	// A head of 80, as Whisper's largest might have: 1 / sqrt(80), both rounded.
	e, err := parseExpression("head_dim^-0.5")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := e.value(sized(1280, 16)); err != nil || math.Float64bits(got) != 0x3fbc9f25c5bfedd9 {
		t.Errorf("%v (%x), %v", got, math.Float64bits(got), err)
	}
}

// tenth is a variable, so that the compiler does not multiply exactly.
var tenth = 0.1

func TestExpressionErrors(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                             "a number or a size of the model should follow at the end",
		"2*":                           "a number or a size of the model should follow at the end",
		"2*-3":                         `found "-3" where a number or a size of the model was expected`,
		"(2)":                          `found "(2)" where`,
		"2 3":                          `found "3" where *, / or the end was expected`,
		"2+3":                          `found "+3" where *, / or the end was expected`,
		"1e":                           `found "e" where *, / or the end was expected`,
		"1.2.3":                        `"1.2.3" is no number`,
		"1e999":                        `"1e999" is no number`,
		"2^0.25":                       "the power 0.25 is no multiple of 1/2 from -16 to 16",
		"2^17":                         "the power 17 is no multiple of 1/2",
		"2^x":                          `found "x" where a number`,
		"0":                            "it is 0; a finite number other than 0 was expected",
		"1/0":                          "it is +Inf; a finite number other than 0 was expected",
		"1e300*1e300":                  "it is +Inf",
		"haeds^0.5":                    `the model has no size "haeds"; it has layers, d_model, heads, head_dim`,
		"eps":                          `the model has no size "eps"`,
		strings.Repeat("2*", 16) + "2": "it has more than 16 factors",
	} {
		e, err := parseExpression(text)
		if err == nil {
			_, err = e.value(sized(512, 8))
		}
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	e, err := parseExpression("head_dim")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.value(sized(36, 5)); err == nil || err.Error() != "head_dim is d_model/heads, but 36 is no multiple of 5" {
		t.Error(err)
	}
	if _, err := e.value(&model.Model{}); err == nil || !strings.Contains(err.Error(), `no size "d_model"`) {
		t.Error(err)
	}
	for text, want := range map[string]string{"heads": "", "0.5": "it is 0.5; a whole number", "-2": "it is -2; a whole number", "1e30": "it is 1e+30"} {
		e, err := parseExpression(text)
		if err != nil {
			t.Fatal(err)
		}
		n, err := e.count(sized(512, 8))
		if want == "" && (err != nil || n != 8) || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%q: %d, %v, want %s", text, n, err, want)
		}
	}
}
