// Package testdata finds the shared photos, weights and golden files that tests compare with.
//
// They are never part of the repository: PACL_TESTDATA names their root (by default the folder "shared" beside the
// repository), PACL_GOLDEN another set of golden files of the same layout. A test that needs them is skipped where they
// are missing, and fails instead when PACL_REQUIRE_TESTDATA is 1.
package testdata

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Root returns the root of the shared data, whether it exists or not.
func Root() string {
	if root := os.Getenv("PACL_TESTDATA"); root != "" {
		return root
	}
	_, file, _, _ := runtime.Caller(0)
	repository := filepath.Dir(filepath.Dir(filepath.Dir(file)))
	return filepath.Join(filepath.Dir(repository), "shared")
}

// Shared returns the path of a file or folder below the root of the shared data.
func Shared(t testing.TB, elem ...string) string {
	t.Helper()
	return need(t, filepath.Join(append([]string{Root()}, elem...)...))
}

// Golden returns the path of a golden file or folder.
func Golden(t testing.TB, elem ...string) string {
	t.Helper()
	root := os.Getenv("PACL_GOLDEN")
	if root == "" {
		root = filepath.Join(Root(), "golden")
	}
	return need(t, filepath.Join(append([]string{root}, elem...)...))
}

// Long reports whether proofs that take longer than a few seconds are asked for (PACL_LONG=1).
func Long() bool { return os.Getenv("PACL_LONG") == "1" }

func need(t testing.TB, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("PACL_REQUIRE_TESTDATA") == "1" {
			t.Fatalf("test data: %v", err)
		}
		t.Skipf("test data: %v (set PACL_TESTDATA)", err)
	}
	return path
}
