package main

import (
	"sort"
	"sync"
	"time"
)

// spawnJoin starts a million goroutines, then waits for all, in the batches of spawn_join.rs.
func spawnJoin() values {
	n := size(1_000_000, 200_000)
	spawnBatch(n / 10)
	first := timed(func() { spawnBatch(n) })
	again := middle(func() { spawnBatch(n) }, 4)
	return values{"first": nsEach(first, n), "again": nsEach(again, n)}
}

func spawnBatch(n int) {
	var all sync.WaitGroup
	all.Add(n)
	for i := 0; i < n; i++ {
		go all.Done()
	}
	all.Wait()
}

func timed(run func()) time.Duration {
	start := time.Now()
	run()
	return time.Since(start)
}

// middle returns the median time of some runs.
func middle(run func(), times int) time.Duration {
	all := make([]time.Duration, times)
	for i := range all {
		all[i] = timed(run)
	}
	sort.Slice(all, func(a, b int) bool { return all[a] < all[b] })
	return (all[(times-1)/2] + all[times/2]) / 2
}
