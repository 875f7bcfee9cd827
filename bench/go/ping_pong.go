package main

import "sync"

// pingPong sends a number there and back, over channels that hold one, and over unbuffered ones.
func pingPong() values {
	n := size(1_000_000, 200_000)
	found := values{}
	for key, capacity := range map[string]int{"one": 1, "zero": 0} {
		play(n/portions, capacity)
		elapsed := timed(func() {
			for i := 0; i < portions; i++ {
				play(n/portions, capacity)
			}
		})
		found[key] = nsEach(elapsed, n)
	}
	return found
}

func play(n, capacity int) {
	there, back := make(chan uint64, capacity), make(chan uint64, capacity)
	var all sync.WaitGroup
	all.Add(2)
	sum := uint64(0)
	go func() {
		defer all.Done()
		for i := uint64(0); i < uint64(n); i++ {
			there <- i
			sum += <-back
		}
		close(there)
	}()
	go func() {
		defer all.Done()
		for message := range there {
			back <- message + 1
		}
	}()
	all.Wait()
	check(sum == uint64(n)*uint64(n+1)/2, "a wrong sum")
}
