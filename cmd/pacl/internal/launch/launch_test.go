//go:build linux && (amd64 || arm64)

package launch

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// TestLargePages asks the system where large objects of new processes lie.
func TestLargePages(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage/enabled"); err != nil {
		t.Skip("this system has no large pages")
	}
	run := func(words ...string) string {
		command := exec.Command(os.Args[0], append([]string{"-test.run=^TestChild$"}, words...)...)
		command.Env = append(os.Environ(), "PACL_LAUNCH_CHILD=1", "GOGC=off") // while the heap is collected, stacks are kept
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		line, _, _ := strings.Cut(string(out), "\n")
		return line
	}
	if got := run("train"); got != "[false true true]" {
		t.Errorf("objects in large pages: %s, expected none before they are asked for", got)
	}
	if got := run("segment"); got != "[true true true]" {
		t.Errorf("objects of a command that segments in large pages: %s", got)
	}
}

// TestChild prints for three large objects whether they lie in large pages: one, and two behind a wish for more.
func TestChild(t *testing.T) {
	if os.Getenv("PACL_LAUNCH_CHILD") == "" {
		t.Skip("for the processes of TestLargePages")
	}
	large := func() bool {
		object := make([]byte, stackBytes*7/8)
		return strings.Contains(flagsOf(t, &object[0]), " hg ") && strings.Contains(flagsOf(t, &object[len(object)-1]), " hg ")
	}
	stacksReturned := func() {
		const own = 2 // the test's goroutine and the one that waits for it
		for deadline := time.Now().Add(time.Minute); runtime.NumGoroutine() > own; runtime.Gosched() {
			if time.Now().After(deadline) {
				t.Fatalf("%d goroutines, expected %d", runtime.NumGoroutine(), own)
			}
		}
	}
	stacksReturned()
	result := []bool{large()}
	for _, bytes := range []int64{-1, 0, 1, 2 * stackBytes} {
		LargePages(bytes)
	}
	stacksReturned()
	fmt.Println(append(result, large(), large()))
}

// flagsOf are those of the mapping that a byte lies in.
func flagsOf(t *testing.T, b *byte) string {
	t.Helper()
	return " " + mappingOf(t, uintptr(unsafe.Pointer(b)))["VmFlags"] + " "
}

// mappingOf is what the system says about the mapping of an address.
func mappingOf(t *testing.T, at uintptr) map[string]string {
	t.Helper()
	file, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var fields map[string]string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var start, end uintptr
		if n, _ := fmt.Sscanf(lines.Text(), "%x-%x ", &start, &end); n == 2 {
			if fields != nil {
				return fields
			}
			if start <= at && at < end {
				fields = map[string]string{}
			}
		} else if name, value, ok := strings.Cut(lines.Text(), ":"); ok && fields != nil {
			fields[name] = strings.TrimSpace(value)
		}
	}
	if fields == nil {
		t.Fatalf("no mapping of %#x", at)
	}
	return fields
}

func TestCode(t *testing.T) {
	start, bytes := code()
	for _, f := range []any{TestCode, LargePages, fmt.Sscanf} {
		if at := reflect.ValueOf(f).Pointer(); at < start || at-start >= bytes {
			t.Errorf("a function at %#x, code of %d bytes at %#x", at, bytes, start)
		}
	}
}

// TestCodeIsMapped asks the system how much of this process's code is mapped: all, as for every command.
func TestCodeIsMapped(t *testing.T) {
	start, bytes := code()
	if _, _, errno := syscall.Syscall(syscall.SYS_MADVISE, start, uintptr(syscall.Getpagesize()), populateRead); errno != 0 {
		t.Skipf("this system does not map what is asked for: %v", errno)
	}
	fields := mappingOf(t, reflect.ValueOf(TestCode).Pointer())
	if fields["Rss"] != fields["Size"] {
		t.Errorf("mapped %s of %s, code of %d bytes", fields["Rss"], fields["Size"], bytes)
	}
}

// BenchmarkFirstTouch is what 2 MB of memory take that the system has just given: in a large page, in small ones, and in small ones that
// are asked for by one call.
func BenchmarkFirstTouch(b *testing.B) {
	const size, large, populateWrite = 2 << 20, 2 << 20, 23
	for _, c := range []struct {
		name         string
		advice, step int
	}{{"large", syscall.MADV_HUGEPAGE, size}, {"small", syscall.MADV_NOHUGEPAGE, 4 << 10}, {"populated", populateWrite, size}} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(size)
			for b.Loop() {
				data, err := syscall.Mmap(-1, 0, size+large, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
				if err != nil {
					b.Fatal(err)
				}
				start := -uintptr(unsafe.Pointer(&data[0])) % large
				part := data[start : start+size]
				if c.advice == populateWrite {
					_ = syscall.Madvise(part, syscall.MADV_NOHUGEPAGE)
				}
				if err := syscall.Madvise(part, c.advice); err != nil {
					b.Fatal(err)
				}
				for at := 0; at < size; at += c.step {
					part[at] = 1
				}
				if err := syscall.Munmap(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
