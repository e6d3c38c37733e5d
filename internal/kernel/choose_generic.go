//go:build !amd64 || noasm

package kernel

import "runtime"

func available() []*kernelSet { return []*kernelSet{&portable} }

func slowBF16() bool { return false }

func processor() []string {
	return []string{"processor: " + runtime.GOARCH + ", no assembly in this build"}
}
