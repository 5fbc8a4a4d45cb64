#!/bin/sh
# Builds the software NPU into a folder: libswnpu.so, the files of sysfs and /dev that XRT looks for, and the settings of XRT that it
# needs. Programs with LD_PRELOAD=FOLDER/libswnpu.so in their environment find it there.
# Usage: sh build.sh FOLDER [COMPILER FLAGS...]
set -eu
folder=$1
shift
src=$(dirname "$0")/src

npu=$folder/sys/devices/pci0000:00/0000:c5:00.1
mkdir -p "$npu/accel/accel0" "$folder/sys/bus/pci/devices" "$folder/sys/bus/pci/drivers/amdxdna" "$folder/sys/module/amdxdna" "$folder/dev/accel"
ln -sfn ../../../devices/pci0000:00/0000:c5:00.1 "$folder/sys/bus/pci/devices/0000:c5:00.1"
ln -sfn ../../../../devices/pci0000:00/0000:c5:00.1 "$folder/sys/bus/pci/drivers/amdxdna/0000:c5:00.1"
: >"$folder/dev/accel/accel0"
echo 0 >"$npu/device_type"
echo 'software NPU' >"$npu/vbnv"
echo 0x1022 >"$npu/vendor"
echo 0x1502 >"$npu/device"
echo 0x00 >"$npu/revision"
: >"$npu/resource"
echo 'software-NPU,0' >"$folder/sys/module/amdxdna/version"
printf '[Debug]\nforce_driver_sync=true\n' >"$folder/xrt.ini"

# Products are to be rounded before they are added, as the reference device does it. Fortified headers would define functions that
# interpose.c defines.
${CC:-cc} -std=gnu11 -O3 -g -ffp-contract=off -U_FORTIFY_SOURCE -Wall -Wextra -Werror -fvisibility=hidden -shared -fPIC -pthread "$@" \
	-o "$folder/libswnpu.so" "$src"/*.c -ldl
