//go:build unix && !nommap

package device_test

// mapsFiles says that this build maps files.
const mapsFiles = true
