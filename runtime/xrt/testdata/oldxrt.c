// A library that is loaded before XRT and answers for it which version it is: one that is too old. The functions are
// xrt::version::major(), minor() and patch(), under the names that C++ gives them.
unsigned _ZN3xrt7version5majorEv(void) { return 2; }
unsigned _ZN3xrt7version5minorEv(void) { return 20; }
unsigned _ZN3xrt7version5patchEv(void) { return 9; }
