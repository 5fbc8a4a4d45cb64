package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"npuw/artifact"
	"npuw/artifact/kernel"
	"npuw/pipeline"
	"npuw/pipeline/release"
)

// addKernelsFlag adds --kernels to a command that takes a file of kernel contracts.
func addKernelsFlag(c *cobra.Command, path *string) {
	c.Flags().StringVarP(path, "kernels", "k", "", "bind operands to the kernel contracts in FILE.txtpb")
	nameValues(c, map[string]string{"kernels": "FILE.txtpb"})
	_ = c.RegisterFlagCompletionFunc("kernels", completeFiles("txtpb"))
}

// checkKernelsFlag refuses a --kernels without a value, as an empty variable of a shell leaves it.
func checkKernelsFlag(c *cobra.Command, path string) error {
	if c.Flags().Changed("kernels") && path == "" {
		return callErrorf("--kernels has no name")
	}
	return nil
}

// verify checks the artifact at path, and its contracts against the xclbins in a folder if one is named; or the set in the folder at path.
// It says what is well.
func verify(ctx context.Context, path, folder string) (ok string, err error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		if folder != "" {
			return "", callErrorf("%s: a set is checked against its own kernels, without --kernels", path)
		}
		return "ok, a set", release.Verify(ctx, path)
	}
	if err := pipeline.Verify(path); err != nil || folder == "" {
		return "ok", err
	}
	files, err := regularFiles(folder)
	if err != nil {
		return "", err
	}
	if err := pipeline.VerifyKernels(path, files); err != nil {
		return "", fmt.Errorf("%w (looked in %s)", err, folder)
	}
	a, err := artifact.Open(path)
	if err != nil {
		return "", err
	}
	defer a.Close()
	fit := 0
	for i := range a.Index.Contracts {
		if a.Index.Contracts[i].Xclbin != kernel.None {
			fit++
		}
	}
	return fmt.Sprintf("ok; contracts that fit the xclbins in %s: %d", folder, fit), nil
}

// regularFiles gives the paths of the regular files in a folder; links to such are among them.
func regularFiles(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", folder, cause(err))
	}
	var paths []string
	for _, e := range entries {
		path := filepath.Join(folder, e.Name())
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			paths = append(paths, path)
		}
	}
	return paths, nil
}
