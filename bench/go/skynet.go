package main

// skynet is the known benchmark, as its author wrote it for Go: sums travel through channels.
// https://github.com/atemerev/skynet
func skynet() values {
	leaves := size(1_000_000, 100_000)
	run := func() {
		sum := make(chan int)
		go level(sum, 0, leaves)
		check(<-sum == leaves*(leaves-1)/2, "a wrong sum")
	}
	first := timed(run)
	again := middle(run, 3)
	return values{"first": first.Seconds() * 1e3, "again": again.Seconds() * 1e3}
}

func level(sum chan int, first, leaves int) {
	if leaves == 1 {
		sum <- first
		return
	}
	parts := make(chan int)
	for i := 0; i < 10; i++ {
		go level(parts, first+i*(leaves/10), leaves/10)
	}
	total := 0
	for i := 0; i < 10; i++ {
		total += <-parts
	}
	sum <- total
}
