"""A fresh process for each task, which sends its result back through a pipe."""

import multiprocessing
import sys

from sample import each, next_in_a_process, report, size


def measure(method, count):
    context = multiprocessing.get_context(method)

    def run():
        for n in range(count):
            next_in_a_process(context, n)

    next_in_a_process(context, 0)
    report(us=each(count, 1e-6, run))


if __name__ == "__main__":
    counts = {"fork": size(200, 50), "forkserver": size(50, 10), "spawn": size(20, 5)}
    measure(sys.argv[1], counts[sys.argv[1]])
