// The peers written in Go: `bench ROW quick|full` prints one sample as a line of JSON.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// values are the numbers of a measurement, by the keys of the row's columns.
type values map[string]float64

var rows = map[string]func() values{
	"yield":       yieldPair,
	"yield_crowd": yieldCrowd,
	"spawn_join":  spawnJoin,
	"ping_pong":   pingPong,
	"channel":     channel,
	"skynet":      skynet,
	"idle":        idle,
	"cancel":      cancel,
	"timers":      timers,
	"files":       files,
	"serve_echo":  serveEcho,
	"serve_http":  serveHTTP,
}

var quick bool

// size returns less in a quick run, otherwise full.
func size(full, less int) int {
	if quick {
		return less
	}
	return full
}

func nsEach(elapsed time.Duration, n int) float64 {
	return float64(elapsed.Nanoseconds()) / float64(n)
}

// check ends the program with a message unless ok.
func check(ok bool, message string) {
	if !ok {
		fmt.Fprintln(os.Stderr, message)
		os.Exit(1)
	}
}

func main() {
	check(len(os.Args) == 3, "usage: bench ROW quick|full")
	quick = os.Args[2] == "quick"
	run := rows[os.Args[1]]
	check(run != nil, "no such row: "+os.Args[1])
	line, err := json.Marshal(map[string]values{"values": run()})
	check(err == nil, "no JSON")
	fmt.Println(string(line))
}
