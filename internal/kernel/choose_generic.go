//go:build !amd64 || noasm

package kernel

import "runtime"

func available() []*kernelSet { return []*kernelSet{&portable} }

func processor() []string {
	return []string{"processor: " + runtime.GOARCH + ", no assembly in this build"}
}
