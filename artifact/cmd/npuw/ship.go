package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/spf13/cobra"

	"npuw/pipeline/npuwz"
)

// shipFlags are the flags of the commands that make artifacts small to ship, and artifacts of what was shipped.
type shipFlags struct {
	output            string
	jobs              int
	quiet, sync, json bool
}

// shipWork is what such a command does to make the file at out.
type shipWork func(ctx context.Context, out string, opts npuwz.Options) (npuwz.Result, error)

// command completes c, which makes an output that is shown as out; with the arguments, work gives what it does, and print says what was done.
func (f *shipFlags) command(c *cobra.Command, out string, work func(args []string) shipWork, print func(r npuwz.Result) string) *cobra.Command {
	flags := c.Flags()
	flags.StringVarP(&f.output, "output", "o", "", "the file to write: "+out)
	flags.IntVarP(&f.jobs, "jobs", "j", 0, "work with N workers (default: one a processor); the bytes do not depend on it")
	flags.BoolVarP(&f.quiet, "quiet", "q", false, "print nothing but errors")
	flags.BoolVar(&f.sync, "sync", true, "wait until the file is on the disk; --sync=false is for scratch work")
	flags.BoolVar(&f.json, "json", false, "print JSON")
	c.MarkFlagsMutuallyExclusive("quiet", "json")
	nameValues(c, map[string]string{"output": out, "jobs": "N"})
	requireFlag(c, "output", "-o "+out)
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if f.jobs < 0 || f.jobs > maxJobs {
			return callErrorf("--jobs %d: 1 to %d was expected, or 0 for one a processor", f.jobs, maxJobs)
		}
		if f.output == "" {
			return noName("-o")
		}
		return f.run(cmd, work(args), print)
	}
	return c
}

// run does the work, shows its progress, and says what was done.
func (f *shipFlags) run(cmd *cobra.Command, work shipWork, print func(r npuwz.Result) string) error {
	opts := npuwz.Options{Jobs: f.jobs, NoSync: !f.sync}
	p, once := &progress{}, sync.Once{}
	if !f.quiet {
		opts.Progress = func(bytes, all int64) {
			once.Do(func() { p = newProgress(cmd.ErrOrStderr(), f.output, all) })
			p.add(bytes)
		}
	}
	var r npuwz.Result
	err := interruptible(cmd, "no file was written", func(ctx context.Context) (err error) {
		r, err = work(ctx, f.output, opts)
		return err
	})
	p.done()
	switch {
	case err != nil || f.quiet:
		return err
	case f.json:
		return printJSON(cmd.OutOrStdout(), shipListing{
			f.output, r.Artifact.Digest.String(), r.Artifact.FileBytes, r.Stored, float64(r.Stored) / float64(r.Artifact.FileBytes), r.Segments, r.Carried,
		})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", f.output, print(r))
	return nil
}

// shipListing is what these commands print with --json.
type shipListing struct {
	Output        string  `json:"output"`
	Digest        string  `json:"digest"` // of the artifact
	ArtifactBytes uint64  `json:"artifact_bytes"`
	StoredBytes   int64   `json:"stored_bytes"` // of the .npuwz or .npuwd file
	Ratio         float64 `json:"ratio"`
	Segments      int     `json:"segments"`
	Carried       int     `json:"segments_carried"` // that the file holds
}

// shrunk says how small an artifact became.
func shrunk(r npuwz.Result) string {
	return fmt.Sprintf("%d bytes of %d (%.3f)", r.Stored, r.Artifact.FileBytes, float64(r.Stored)/float64(r.Artifact.FileBytes))
}

// restored says which artifact was made again.
func restored(r npuwz.Result) string {
	return fmt.Sprintf("%d bytes, %d of %d segments from the file, verified (digest %v)", r.Artifact.FileBytes, r.Carried, r.Segments, r.Artifact.Digest)
}

func compressCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "compress FILE.npuw -o OUT.npuwz",
		Short: "Make an artifact small to ship",
		Long: "Compress an artifact: its bytes, sorted as its element formats ask for, in zstd frames with a seek table. BF16 takes two thirds.\n" +
			"The same artifact gives the same bytes on every machine. FILE.npuw is verified before; what is not sound is refused.\n\n" +
			"On the device side nothing is decompressed: `npuw decompress` makes FILE.npuw again, byte for byte.",
		Example:           "  npuw compress model.npuw -o model.npuwz",
		Args:              needs("FILE.npuw"),
		ValidArgsFunction: completeFiles("npuw"),
	}
	return new(shipFlags).command(c, "OUT.npuwz", func(args []string) shipWork {
		return func(ctx context.Context, out string, opts npuwz.Options) (npuwz.Result, error) {
			return npuwz.Compress(ctx, args[0], out, opts)
		}
	}, shrunk)
}

func decompressCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "decompress FILE.npuwz -o OUT.npuw",
		Short: "Make the artifact again that was compressed",
		Long: "Decompress what `npuw compress` wrote, to the same bytes. OUT.npuw appears, or is replaced, when all of it is there and\n" +
			"every byte is verified. A file that is cut, altered or not what it says is refused, with the offset.",
		Example:           "  npuw decompress model.npuwz -o model.npuw",
		Args:              needs("FILE.npuwz"),
		ValidArgsFunction: completeFiles("npuwz"),
	}
	return new(shipFlags).command(c, "OUT.npuw", func(args []string) shipWork {
		return func(ctx context.Context, out string, opts npuwz.Options) (npuwz.Result, error) {
			return npuwz.Decompress(ctx, args[0], out, opts)
		}
	}, restored)
}

func patchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "patch A.npuw DELTA.npuwd -o B.npuw",
		Short: "Make the next artifact of one and a delta",
		Long: "Make the artifact B.npuw of A.npuw and what `npuw diff --delta DELTA.npuwd A.npuw B.npuw` wrote, to the same bytes. It\n" +
			"appears when all of it is there and every byte is verified.\n\n" +
			"-o may name A.npuw: it is replaced by B.npuw at once, or stays as it was; a program that has it mapped keeps what it mapped.",
		Example:           "  npuw diff --delta update.npuwd old.npuw new.npuw\n  npuw patch old.npuw update.npuwd -o new.npuw",
		Args:              needs("A.npuw", "DELTA.npuwd"),
		ValidArgsFunction: completeFiles("npuw", "npuwd"),
	}
	return new(shipFlags).command(c, "B.npuw", func(args []string) shipWork {
		return func(ctx context.Context, out string, opts npuwz.Options) (npuwz.Result, error) {
			return npuwz.Patch(ctx, args[0], args[1], out, opts)
		}
	}, restored)
}

// writeDelta writes the delta with which patch makes the artifact b of a.
func writeDelta(cmd *cobra.Command, a, b, out string, asJSON bool) error {
	f := shipFlags{output: out, sync: true, json: asJSON}
	return f.run(cmd, func(ctx context.Context, out string, opts npuwz.Options) (npuwz.Result, error) {
		return npuwz.Delta(ctx, a, b, out, opts)
	}, func(r npuwz.Result) string {
		return fmt.Sprintf("%s, %d of %d segments; npuw patch makes %s (digest %v) of %s", shrunk(r), r.Carried, r.Segments, b, r.Artifact.Digest, a)
	})
}
