//go:build !unix

package artifact

const dontWait = 0
