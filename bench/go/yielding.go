package main

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// around is the number of yields of each goroutine before it counts, and after it. So no goroutine
// starts or ends while another one counts.
const around = 10

func yieldPair() values {
	return yielding(2, size(2_000_000, 500_000))
}

func yieldCrowd() values {
	return yielding(20_000, size(100, 20))
}

// yielding measures from the first goroutine's first counted yield to the last one's last.
func yielding(tasks, yields int) values {
	base := time.Now()
	first, last := int64(1)<<62, int64(0)
	var all sync.WaitGroup
	all.Add(tasks)
	for i := 0; i < tasks; i++ {
		go func() {
			defer all.Done()
			handOver(around)
			least(&first, time.Since(base).Nanoseconds())
			handOver(yields)
			most(&last, time.Since(base).Nanoseconds())
			handOver(around)
		}()
	}
	all.Wait()
	return values{"ns": nsEach(time.Duration(last-first), tasks*yields)}
}

func handOver(times int) {
	for i := 0; i < times; i++ {
		runtime.Gosched()
	}
}

func least(to *int64, value int64) {
	for now := atomic.LoadInt64(to); value < now; now = atomic.LoadInt64(to) {
		if atomic.CompareAndSwapInt64(to, now, value) {
			return
		}
	}
}

func most(to *int64, value int64) {
	for now := atomic.LoadInt64(to); value > now; now = atomic.LoadInt64(to) {
		if atomic.CompareAndSwapInt64(to, now, value) {
			return
		}
	}
}
