package xrt

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"npuw/artifact"
	"npuw/artifact/xclbin"
	"npuw/runtime/device"
)

// maxXclbin bounds an xclbin that is read into memory, in bytes: 1 GiB.
const maxXclbin = 1 << 30

// xclbinFile is an xclbin that the device knows. XRT forgets none before the device is closed.
type xclbinFile struct {
	*xclbin.File
	open int // kernels of it; guarded by the device's contexts
}

// Folder finds xclbins by content among the files of a folder whose names end in .xclbin. Where there is none, the error wraps
// device.ErrMismatch.
func Folder(dir string) func(x *artifact.Xclbin) (path string, err error) {
	return func(x *artifact.Xclbin) (string, error) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return "", err
		}
		namesake := ""
		for _, e := range entries {
			if filepath.Ext(e.Name()) != ".xclbin" {
				continue
			}
			path := filepath.Join(dir, e.Name())
			if e.Name() == x.Name {
				namesake = "; the one of this name there is another"
			}
			info, err := os.Stat(path)
			if err != nil || !info.Mode().IsRegular() || uint64(info.Size()) != x.Bytes {
				continue
			}
			if data, err := readXclbin(path, x); err == nil && artifact.Sum(data) == x.Digest {
				return path, nil
			}
		}
		return "", fmt.Errorf("%w: the artifact is built for xclbin %q (uuid %v, digest %v), which is not in %s%s",
			device.ErrMismatch, x.Name, xclbin.UUID(x.UUID), x.Digest, dir, namesake)
	}
}

// readXclbin reads a file that must be as long as the artifact says.
func readXclbin(path string, x *artifact.Xclbin) ([]byte, error) {
	if x.Bytes > maxXclbin {
		return nil, fmt.Errorf("%w: xclbin %q has %d bytes, at most %d are loaded", device.ErrUnsupported, x.Name, x.Bytes, maxXclbin)
	}
	data, err := os.ReadFile(path)
	if err == nil && uint64(len(data)) != x.Bytes {
		err = fmt.Errorf("%s: %w: %d bytes, the artifact is built for %d", path, device.ErrMismatch, len(data), x.Bytes)
	}
	return data, err
}

// xclbin makes an xclbin that an artifact names known to the device: read once, checked, parsed and given to XRT from the same bytes.
func (d *Device) xclbin(x *artifact.Xclbin) (*xclbinFile, error) {
	d.registering.Lock()
	defer d.registering.Unlock()
	if f := d.xclbins[x.UUID]; f != nil {
		if f.Digest != x.Digest {
			return nil, fmt.Errorf("%w: xclbin %q has the uuid %v of another one, digest %v, which this device has open", device.ErrMismatch, x.Name, f.UUID, f.Digest)
		}
		return f, nil
	}
	if d.find == nil {
		return nil, fmt.Errorf("%w: the contract needs xclbin %q, and the device was opened without a folder of them", device.ErrMismatch, x.Name)
	}
	path, err := d.find(x)
	if err != nil {
		return nil, err
	}
	data, err := readXclbin(path, x)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: %w", device.ErrMismatch, err)
	}
	if err != nil {
		return nil, err
	}
	if digest := artifact.Sum(data); digest != x.Digest {
		return nil, fmt.Errorf("%s: %w: digest %v; the artifact is built for %v", path, device.ErrMismatch, digest, x.Digest)
	}
	parsed, err := xclbin.NewFile(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	parsed.Path = path
	if parsed.UUID != x.UUID {
		return nil, fmt.Errorf("%s: %w: uuid %v; the artifact is built for %v", path, device.ErrMismatch, parsed.UUID, xclbin.UUID(x.UUID))
	}
	if err := d.register(data); err != nil {
		return nil, fmt.Errorf("%s: %w", path, d.check(err))
	}
	f := &xclbinFile{File: parsed}
	d.xclbins[x.UUID] = f
	return f, nil
}

// register gives an xclbin to XRT, and newContext makes a context of one: not at a time.
func (d *Device) register(data []byte) error {
	d.configuring.Lock()
	defer d.configuring.Unlock()
	_, err := d.npu.register(data)
	return err
}

func (d *Device) newContext(x *xclbinFile) (hwContext, error) {
	d.configuring.Lock()
	defer d.configuring.Unlock()
	return d.npu.context(x.UUID)
}
