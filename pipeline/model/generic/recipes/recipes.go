// Package recipes holds the recipes that come with models of no known family, as the protobuf text (schema/release.proto) that a kernel
// author writes too.
package recipes

import "embed"

// Files has one recipe a file.
//
//go:embed *.txtpb
var Files embed.FS

// Default is the name of the recipe for which none is named.
const Default = "generic/npu1-tiled"
