module trine/bench

go 1.19
