package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// cancel ends 100,000 goroutines that sleep until their context is cancelled; each defers a call.
func cancel() values {
	n := size(100_000, 20_000)
	scope, end := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Add(n)
	asleep, dropped := int64(0), int64(0)
	for i := 0; i < n; i++ {
		go func() {
			defer all.Done()
			defer atomic.AddInt64(&dropped, 1)
			timer := time.NewTimer(long)
			defer timer.Stop()
			atomic.AddInt64(&asleep, 1)
			select {
			case <-scope.Done():
			case <-timer.C:
			}
		}()
	}
	for atomic.LoadInt64(&asleep) < int64(n) {
		time.Sleep(time.Millisecond)
	}
	// The last goroutines count themselves shortly before they sleep.
	time.Sleep(200 * time.Millisecond)
	elapsed := timed(func() {
		end()
		all.Wait()
	})
	return values{"ms": elapsed.Seconds() * 1e3, "dropped": float64(dropped)}
}
