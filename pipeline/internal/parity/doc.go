// Package parity compares the encoder computed from artifacts with ONNX Runtime itself, on freshly generated models. Its test
// runs where NPUW_ORT names a folder that holds node_modules/onnxruntime-node; `go tool mage test:parity` makes one.
package parity
