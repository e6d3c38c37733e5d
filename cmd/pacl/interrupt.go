package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// grace is how long a command that may end soon leaves signals to the system: to listen for them starts threads, 2 ms of the processor
// time of a photo. A signal in this time ends the command at once, as one always may: files are there whole or not at all.
const grace = 250 * time.Millisecond

// interruptible returns a context that the user's Ctrl-C or a supervisor's SIGTERM ends once so much time is over; stop forgets it.
func interruptible(after time.Duration) (ctx context.Context, stop func()) {
	if after == 0 {
		return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	}
	ctx, cancel := context.WithCancel(context.Background())
	stopped := make(chan struct{})
	timer := time.AfterFunc(after, func() {
		signalled, forget := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
		defer forget()
		<-signalled.Done()
		cancel()
		<-stopped // until then further signals wait for the command to end
	})
	return ctx, func() {
		timer.Stop()
		cancel()
		close(stopped)
	}
}
