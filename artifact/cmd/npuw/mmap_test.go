//go:build unix && !nommap

package main

// mapsFiles says that this build maps files.
const mapsFiles = true
