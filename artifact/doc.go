// Package artifact reads and writes .npuw files: the weights of one model as the operands that NPU kernels read, mapped as
// they lie on disk. schema/FORMAT.md defines the file; in short:
//
//	byte 0                                                                                   file_bytes
//	+--------+-------+-----------------------+-----------------------+-- ... --+------------------+
//	| header | zeros | segment 0             | segment 1             |         | index            |
//	+--------+-------+-----------------------+-----------------------+-- ... --+------------------+
//	0       256     page_bytes                                              index_offset
//
// A segment is what becomes one buffer object: whole pages, holding operands at 256-byte boundaries. The index says where
// each operand is, in which element format and layout, and where in it each trained parameter can be found.
//
// Open (of a path) and NewFile (of an io.ReaderAt) check header and index and copy the index into Go values; they touch no data.
// Verify checks every byte. Values gives the numbers of an operand or parameter back. Create writes: all or nothing. Nothing in a file is trusted, and no
// function panics, whatever the file holds. Everything wrong with a file is an *Error that unwraps to one of the
// sentinels of this package.
package artifact
