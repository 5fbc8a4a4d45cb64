// Package accidents has only tests: what machines do to the real command while it builds. It is killed, its disk is full or read-only,
// its model cannot be read, and others write the same path. Afterwards the output is as it was, or whole.
package accidents
