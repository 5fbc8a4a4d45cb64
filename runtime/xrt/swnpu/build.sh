#!/bin/sh
# Builds the software NPU into a folder: libswnpu.so, the files of sysfs and /dev that XRT looks for, and the settings of XRT that it
# needs. Programs with LD_PRELOAD=FOLDER/libswnpu.so in their environment find it there.
# Usage: sh build.sh FOLDER [COMPILER FLAGS...]
set -eu
folder=$1
shift
src=$(dirname "$0")/src

show() { # TREE NUMBER ADDRESS: what XRT finds of an NPU
	npu=$1/sys/devices/pci0000:00/$3
	mkdir -p "$npu/accel/accel$2" "$1/sys/bus/pci/devices" "$1/sys/bus/pci/drivers/amdxdna" "$1/sys/module/amdxdna" "$1/dev/accel"
	ln -sfn "../../../devices/pci0000:00/$3" "$1/sys/bus/pci/devices/$3"
	ln -sfn "../../../../devices/pci0000:00/$3" "$1/sys/bus/pci/drivers/amdxdna/$3"
	: >"$1/dev/accel/accel$2"
	echo 0 >"$npu/device_type"
	echo 'software NPU' >"$npu/vbnv"
	echo 0x1022 >"$npu/vendor"
	echo 0x1502 >"$npu/device"
	echo 0x00 >"$npu/revision"
	: >"$npu/resource"
	echo 'software-NPU,0' >"$1/sys/module/amdxdna/version"
}

show "$folder/one" 0 0000:c5:00.1
show "$folder/two" 0 0000:c5:00.1
show "$folder/two" 1 0000:c6:00.1
printf '[Debug]\nforce_driver_sync=true\n' >"$folder/xrt.ini"

# Products are to be rounded before they are added, as the reference device does it. Fortified headers would define functions that
# interpose.c defines.
${CC:-cc} -std=gnu11 -O3 -g -ffp-contract=off -U_FORTIFY_SOURCE -Wall -Wextra -Werror -fvisibility=hidden -shared -fPIC -pthread "$@" \
	-o "$folder/libswnpu.so" "$src"/*.c -ldl
