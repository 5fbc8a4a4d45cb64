#!/bin/sh
# Runs a command in the Debian folder that trixie.sh made, in the current folder, with the Go of this machine. Needs root.
# Usage: unshare --mount --propagation private sh enter.sh FOLDER SCRATCH READ_ONLY... -- COMMAND...
# The command sees the folders READ_ONLY under their own paths; it can write to SCRATCH, where temporary files and Go's cache
# go, and nowhere else. All mounts belong to the namespace that unshare makes: none outlives the command.
set -eu
folder=$1 scratch=$2
shift 2

show() { # PATH [OPTIONS]: mount a folder of this machine below the other root, under the same path
	mkdir -p "$folder$1"
	mount --bind "$1" "$folder$1"
	[ $# = 1 ] || mount -o "remount,bind,$2" "$folder$1"
}

mkdir -p "$scratch/tmp" "$scratch/go-build"
mount --bind "$folder" "$folder" # a mount of its own, which can be made read only
mount -t tmpfs tmpfs "$folder/tmp"
show /dev
show /proc
while [ "$1" != -- ]; do
	show "$1" ro
	shift
done
shift
show "$scratch"
mount -o remount,bind,ro "$folder"

export TMPDIR="$scratch/tmp" GOCACHE="$scratch/go-build" STATICCHECK_CACHE="$scratch/staticcheck" GOPROXY=off GOTOOLCHAIN=local
exec chroot "$folder" /usr/bin/env -C "$(pwd)" "$@"
