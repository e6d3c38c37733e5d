//go:build unix

package main

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

func TestStopEndsTheContext(t *testing.T) {
	for _, after := range []time.Duration{0, time.Nanosecond, time.Hour} {
		ctx, stop := interruptible(after)
		time.Sleep(10 * time.Millisecond)
		if ctx.Err() != nil {
			t.Errorf("after %v: the context has ended by itself", after)
		}
		if stop(); ctx.Err() == nil {
			t.Errorf("after %v: a stopped context goes on", after)
		}
	}
}

// TestSignalInGrace sends a signal to a process that does not listen yet, which ends it, and to one that does.
func TestSignalInGrace(t *testing.T) {
	if os.Getenv("PACL_INTERRUPT_CHILD") != "" {
		after, err := time.ParseDuration(os.Getenv("PACL_INTERRUPT_CHILD"))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := interruptible(after)
		defer stop()
		time.Sleep(min(after, 100*time.Millisecond))
		time.Sleep(400 * time.Millisecond) // for the handler, on a busy machine too
		os.Stdout.WriteString("ready\n")
		select {
		case <-ctx.Done():
			os.Exit(130)
		case <-time.After(time.Minute):
			os.Exit(0)
		}
	}
	for after, want := range map[string]string{"0s": "exit status 130", "20ms": "exit status 130", "1h": "signal: terminated"} {
		command := exec.Command(os.Args[0], "-test.run=^TestSignalInGrace$")
		command.Env = append(os.Environ(), "PACL_INTERRUPT_CHILD="+after)
		out, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 6)); err != nil {
			t.Fatal(err)
		}
		if err := command.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := command.Wait(); err == nil || err.Error() != want {
			t.Errorf("a signal where the process listens after %s: %v, expected %s", after, err, want)
		}
	}
}
