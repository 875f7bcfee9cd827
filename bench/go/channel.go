package main

import (
	"sync"
	"sync/atomic"
)

// capacity is the number of messages that every bounded channel of the comparison holds.
const capacity = 128

// portions of a measurement, each with fresh goroutines: one set of them may be placed well or
// badly on the cores.
const portions = 10

// channel sends numbers through a bounded channel, with one goroutine at each end and with four.
func channel() values {
	n := size(4_000_000, 400_000)
	found := values{}
	for key, pairs := range map[string]int{"one": 1, "four": 4} {
		transfer(n/portions, pairs)
		elapsed := timed(func() {
			for i := 0; i < portions; i++ {
				transfer(n/portions, pairs)
			}
		})
		found[key] = 1e3 / nsEach(elapsed, n)
	}
	return found
}

func transfer(n, pairs int) {
	each := n / pairs
	queue := make(chan uint64, capacity)
	var senders, receivers sync.WaitGroup
	senders.Add(pairs)
	receivers.Add(pairs)
	total := uint64(0)
	for i := 0; i < pairs; i++ {
		go func() {
			defer senders.Done()
			for message := uint64(0); message < uint64(each); message++ {
				queue <- message
			}
		}()
		go func() {
			defer receivers.Done()
			sum := uint64(0)
			for message := range queue {
				sum += message
			}
			atomic.AddUint64(&total, sum)
		}()
	}
	senders.Wait()
	close(queue)
	receivers.Wait()
	check(total == uint64(pairs)*uint64(each)*uint64(each-1)/2, "a wrong sum")
}
