#!/bin/sh
# Makes a Debian trixie folder with a C++ compiler and the XRT for NPUs of trixie-backports, unless it is there. Needs root and
# debootstrap; takes about a minute and 620 MB.
# Usage: unshare --mount --propagation private sh trixie.sh FOLDER XRT_VERSION
# FOLDER appears when it is complete; a run that is killed leaves FOLDER.partial, which the next one removes.
set -eu
folder=$1 version=$2
partial=$folder.partial
mirror=http://deb.debian.org/debian
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

mkdir -p "$(dirname "$folder")"
exec 9>"$folder.lock" # one at a time
flock 9
[ ! -e "$folder" ] || exit 0

rm -rf --one-file-system "$partial"
debootstrap --variant=minbase trixie "$partial" "$mirror"

echo "deb $mirror trixie-backports main" >"$partial/etc/apt/sources.list.d/backports.list"
# Backports in general stay below trixie's own packages; XRT comes in this version (1 is Debian's epoch) or not at all.
cat >"$partial/etc/apt/preferences.d/xrt" <<END
Package: libxrt* python3-xrt
Pin: version 1:$version.*
Pin-Priority: 990

Package: libxrt* python3-xrt
Pin: version *
Pin-Priority: -1
END
chroot "$partial" apt-get update -qq
chroot "$partial" apt-get install -qq -y --no-install-recommends \
	g++ pkg-config uuid-dev libdrm-dev libxrt-dev libxrt-npu2 libxrt-utils-npu python3
chroot "$partial" apt-get clean
mv "$partial" "$folder"
