package main

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// long is longer than any measurement; the process ends while its goroutines sleep.
const long = time.Hour

// idle measures the memory while a million goroutines sleep.
func idle() values {
	n := size(1_000_000, 100_000)
	resident, tables := kilobytes("VmRSS:"), kilobytes("VmPTE:")
	asleep := int64(0)
	elapsed := timed(func() {
		for i := 0; i < n; i++ {
			go func() {
				atomic.AddInt64(&asleep, 1)
				time.Sleep(long)
			}()
		}
		for atomic.LoadInt64(&asleep) < int64(n) {
			time.Sleep(time.Millisecond)
		}
	})
	// The last goroutines count themselves shortly before they sleep.
	time.Sleep(200 * time.Millisecond)
	return values{
		"bytes": float64(kilobytes("VmRSS:")-resident) * 1024 / float64(n),
		"pte":   float64(kilobytes("VmPTE:")-tables) * 1024 / float64(n),
		"ns":    nsEach(elapsed, n),
		"count": float64(n),
	}
}

func kilobytes(field string) int {
	text, err := os.ReadFile("/proc/self/status")
	check(err == nil, "cannot read /proc/self/status")
	for _, line := range strings.Split(string(text), "\n") {
		if rest := strings.TrimPrefix(line, field); rest != line {
			number, err := strconv.Atoi(strings.Fields(rest)[0])
			check(err == nil, "/proc/self/status has no number for "+field)
			return number
		}
	}
	check(false, "/proc/self/status has no "+field)
	return 0
}
