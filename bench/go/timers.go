package main

import "time"

// timers makes a million timers, then stops all of them.
func timers() values {
	n := size(1_000_000, 100_000)
	insertAndStop(n / 10)
	return insertAndStop(n)
}

func insertAndStop(n int) values {
	pending := make([]*time.Timer, 0, n)
	insert := timed(func() {
		for i := 0; i < n; i++ {
			pending = append(pending, time.NewTimer(deadline(uint64(i))))
		}
	})
	stop := timed(func() {
		for _, timer := range pending {
			timer.Stop()
		}
	})
	return values{"insert": nsEach(insert, n), "cancel": nsEach(stop, n)}
}

// deadline is the same as in timers.rs: from a minute to an hour, in pseudo-random order.
func deadline(i uint64) time.Duration {
	return time.Minute + time.Duration(i*0x9e37_79b9_7f4a_7c15%3_540_000)*time.Millisecond
}
