//go:build !(linux && (amd64 || arm64))

package launch

// LargePages has nothing to ask of systems that choose the size of pages themselves.
func LargePages(int64) {}
