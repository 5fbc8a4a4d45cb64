// Package arch holds the rules that say which packages of npuw may depend on which, and the test that keeps them true:
//
//	schema <- artifact <- pipeline
//	schema <- artifact <- runtime
//
// The rules are the table in rules_test.go. They are about the code that programs are built from; tests may import what they
// like. One rule is about tests: those that can make artifacts make them in folders of pyreader.TempDir.
package arch
