//go:build !noasm

package kernel

import "golang.org/x/sys/cpu"

// available lists the sets that the processor can run, slowest first.
func available() []*kernelSet {
	sets := []*kernelSet{&portable}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		sets = append(sets, &avx2)
	}
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL {
		sets = append(sets, &avx512)
		if cpu.X86.HasAVX512BF16 {
			sets = append(sets, &avx512bf16)
		}
	}
	return sets
}

// slowBF16 says that VDPBF16PS is slower than multiplying in float32. Processors with AMX leave bfloat16 to its tiles: a core of
// a Xeon reached 89 GFLOP/s by VDPBF16PS and 177 by VFMADD231PS (docs/performance.md). AMD's run the former at twice the speed of the latter.
func slowBF16() bool { return cpu.X86.HasAMXBF16 }

func processor() []string {
	line := "processor:"
	for _, f := range []struct {
		name string
		has  bool
	}{
		{"avx2", cpu.X86.HasAVX2}, {"fma", cpu.X86.HasFMA}, {"avx512f", cpu.X86.HasAVX512F},
		{"avx512bw", cpu.X86.HasAVX512BW}, {"avx512dq", cpu.X86.HasAVX512DQ}, {"avx512vl", cpu.X86.HasAVX512VL},
		{"avx512bf16", cpu.X86.HasAVX512BF16}, {"amxbf16", cpu.X86.HasAMXBF16},
	} {
		if f.has {
			line += " " + f.name
		}
	}
	return []string{line}
}
