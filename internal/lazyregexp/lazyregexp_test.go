package lazyregexp

import "testing"

func TestNew(t *testing.T) {
	pattern := New(`^a+$`)
	if first := pattern(); first != pattern() || !first.MatchString("aa") || first.MatchString("ab") {
		t.Error("expected one pattern of one or more a")
	}
}
