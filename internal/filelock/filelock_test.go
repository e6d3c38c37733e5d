package filelock

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	release, err := Folder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Folder(dir); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a second lock: %v", err)
	}
	release()
	again, err := Folder(dir)
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	again()
	if _, err := Folder(dir + "/missing"); err == nil {
		t.Error("a folder that is not there was locked")
	}
}

// What is kept on a read-only medium can still be used.
func TestFolderThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o555); err != nil {
		t.Fatal(err)
	}
	if os.WriteFile(filepath.Join(dir, "probe"), nil, 0o644) == nil {
		// An administrator writes anywhere but where the system itself refuses.
		if dir = "/sys"; os.WriteFile(filepath.Join(dir, "probe"), nil, 0o644) == nil {
			t.Skip("no folder here refuses to be written to")
		}
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skip("no folder here refuses to be written to")
	}
	release, err := Folder(dir)
	if err != nil {
		t.Fatal(err)
	}
	release()
}
