// Package report writes what an artifact says about itself as one HTML page, for people: the file as a map, what encoding cost by
// layer, kind and element format, layouts drawn, kernel contracts, and all operands in a table.
//
//	header, index -> Write -> one page: no network, nothing beside it, readable without its script
//
// The page is made of the index alone and of nothing else: the same artifact under the same name gives the same bytes. Texts in an
// index are anybody's: html/template escapes each, the page's policy lets nothing run but its own script, and what is drawn is
// bounded, whatever the index holds (the limits below; the page says what it leaves out).
package report

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"html/template"
	"io"

	"npuw/artifact"
	"npuw/artifact/layout/explain"
)

// Limits of what is drawn. A page of all of them is a few MB, which browsers still take.
const (
	maxRows       = 4096 // operands in the table, and blocks in all bars together
	maxSegments   = 128
	maxBlocks     = 256 // operands in the bar of one segment
	maxStacks     = 4   // heat maps
	maxKinds      = 48  // rows of one
	maxLayers     = 128 // columns of one
	maxOutside    = 64  // operands of no layer beside the heat maps
	maxFormats    = 32
	maxLayouts    = 16 // drawings
	maxVariants   = 12 // shapes of a layout
	maxFamilies   = 12 // names of operands at one place, those of all layers as one
	maxContracts  = 64
	maxArguments  = 32
	maxXclbins    = 64
	maxNotes      = 64
	maxAttributes = 32
	maxText       = 160 // characters of one
)

//go:embed page.html style.css script.js
var files embed.FS

// page is what the template shows.
type page struct {
	Style, LayoutStyle template.CSS
	Script             template.JS
	Policy             string

	Head      head
	Map       fileMap
	Heat      heat
	Formats   formats
	Layouts   layouts
	Contracts contracts
	Table     table
}

// Write writes the page of an artifact. Header and index are those of an artifact.File, or others that keep the same rules; name is
// what the page calls it. The only errors are those of w.
func Write(w io.Writer, name string, header artifact.Header, index *artifact.Index) error {
	style, err := files.ReadFile("style.css")
	if err != nil {
		return err
	}
	script, err := files.ReadFile("script.js")
	if err != nil {
		return err
	}
	t, err := template.ParseFS(files, "page.html")
	if err != nil {
		return err
	}
	// The policy names the script by its digest, as it stands between its tags.
	digest := sha256.Sum256(script)
	p := &page{
		Style: template.CSS(style), LayoutStyle: explain.Style, Script: template.JS(script),
		Policy: "default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) + "'",
	}
	p.fill(name, header, index)
	return t.Execute(w, p)
}

func (p *page) fill(name string, header artifact.Header, index *artifact.Index) {
	sizes := measure(header, index)
	p.Head = newHead(name, header, index, sizes)
	p.Map = newFileMap(header, index)
	p.Heat = newHeat(index)
	p.Formats = newFormats(index)
	p.Layouts = newLayouts(index)
	p.Contracts = newContracts(index)
	p.Table = newTable(index)
}
