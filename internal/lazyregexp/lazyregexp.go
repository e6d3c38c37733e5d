// Package lazyregexp compiles regular expressions when they are first used, so that a command does not pay for those it
// does not need.
package lazyregexp

import (
	"regexp"
	"sync"
)

// New returns a function that compiles an expression, which must be right, on its first call.
func New(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}
