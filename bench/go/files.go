package main

import (
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// files reads the files in $BENCH_FILES whole by 1,000 goroutines, six times, and shows the median of
// the last five.
func files() values {
	const tasks, passes = 1_000, 6
	dir := os.Getenv("BENCH_FILES")
	want, err := strconv.ParseInt(os.Getenv("BENCH_BYTES"), 10, 64)
	check(err == nil, "BENCH_BYTES is no number")
	n := size(10_000, 2_000)

	type pass struct{ elapsed, cpu time.Duration }
	var all []pass
	for i := 0; i < passes; i++ {
		read, before := int64(0), cpuTime()
		elapsed := timed(func() {
			var wait sync.WaitGroup
			wait.Add(tasks)
			for task := 0; task < tasks; task++ {
				go func(task int) {
					defer wait.Done()
					for file := task; file < n; file += tasks {
						bytes, err := os.ReadFile(filepath.Join(dir, strconv.Itoa(file)))
						check(err == nil, "cannot read")
						atomic.AddInt64(&read, int64(len(bytes)))
					}
				}(task)
			}
			wait.Wait()
		})
		check(read == want, "not all bytes were read")
		all = append(all, pass{elapsed, cpuTime() - before})
	}
	all = all[1:]
	sort.Slice(all, func(i, j int) bool { return all[i].elapsed < all[j].elapsed })
	middle := all[len(all)/2]
	return values{
		"rate": float64(n) / middle.elapsed.Seconds(),
		"cpu":  nsEach(middle.cpu, n) / 1e3,
	}
}

// cpuTime returns the processor time of this process.
func cpuTime() time.Duration {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage) == nil, "no processor time")
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
