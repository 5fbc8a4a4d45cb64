// Package npu runs encoders end to end with their linear layers on an NPU: from the model file over the artifact, bound to an xclbin, and
// XRT to the output, which is compared with the reference device's. Its tests have the build tag xrt and run on the software NPU;
// `go tool mage test:xrt` runs them.
package npu
