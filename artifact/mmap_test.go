//go:build unix && !nommap

package artifact

// mapsFiles says that this build maps files.
const mapsFiles = true
