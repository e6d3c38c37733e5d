package filelock

import (
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
