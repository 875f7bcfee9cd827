"""One task at a time to a warm pool of two workers and back."""

import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import sample
from sample import each, report, size

WARM = 200
ASLEEP = 300e-6


def task(n):
    """The next number; without one, the seconds that it has slept."""
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


def pool():
    workers = multiprocessing.get_context("fork").Pool(2)
    measure(lambda n: workers.apply(task, (n,)))


def executor():
    workers = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork"))
    measure(lambda n: workers.submit(task, n).result())


def loky():
    workers = sample.loky(2)
    measure(lambda n: workers.submit(task, n).result())


if __name__ == "__main__":
    {"pool": pool, "executor": executor, "loky": loky}[sys.argv[1]]()
