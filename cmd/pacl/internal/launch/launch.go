// Package launch spares page faults: those of a program's code to every process, those of the heap to processes that end soon. Where a
// hypervisor shadows page tables one fault takes some 10 us, and the thousands of a small photo took a third of its processor time. It imports little, so that it is initialised before most
// other packages, whose tables are the first that the heap holds.
package launch

// Bytes is for how many the heap of a command that segments may grow in large pages from the beginning.
const Bytes = 64 << 20
