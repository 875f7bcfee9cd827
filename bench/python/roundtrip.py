"""One task at a time to a warm pool of two workers and back."""

import statistics
import sys
import time

from sample import calls_of, each, report, size

WARM = 200
ASLEEP = 300e-6


def task(n):
    """Returns the next number; for None, sleeps and returns the seconds that it has slept."""
    if n is not None:
        return n + 1
    start = time.perf_counter()
    time.sleep(ASLEEP)
    return time.perf_counter() - start


def measure(call):
    for n in range(WARM):
        call(n)
    count = size(5_000, 1_000)

    def run():
        for n in range(count):
            assert call(n) == n + 1

    def blocked():
        time.sleep(ASLEEP)
        start = time.perf_counter()
        slept = call(None)
        return time.perf_counter() - start - slept

    hot = each(count, 1e-6, run)
    report(us=hot, blocked=1e6 * statistics.median(blocked() for _ in range(size(2_000, 300))))


if __name__ == "__main__":
    measure(calls_of(task, sys.argv[1], 2))
