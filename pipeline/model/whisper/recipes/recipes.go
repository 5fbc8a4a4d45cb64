// Package recipes holds the recipes that come with Whisper, as the protobuf text (schema/release.proto) that a kernel author
// writes too.
package recipes

import "embed"

// Files has one recipe a file.
//
//go:embed *.txtpb
var Files embed.FS

// Default is the name of the recipe for encoders for which none is named.
const Default = "whisper-encoder/npu1-tiled"
