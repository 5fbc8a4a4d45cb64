// Package recipes holds the recipes that come with Whisper, as the protobuf text (schema/release.proto) that a kernel author
// writes too.
package recipes

import "embed"

// Files has one recipe a file.
//
//go:embed *.txtpb
var Files embed.FS

// Defaults are the names of the recipes for models for which none is named: for encoders, for decoders, for
// decoders with a past, and for encoder and decoder together.
var Defaults = []string{"whisper-encoder/npu1-tiled", "whisper-decoder/npu1-tiled", "whisper-decoder-with-past/npu1-tiled", "whisper/npu1-tiled"}
