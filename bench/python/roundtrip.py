"""One task at a time to a warm pool of two workers and back."""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from sample import each, report, size

WARM = 200


def next_one(n):
    return n + 1


def measure(call):
    for n in range(WARM):
        call(n)
    count = size(5_000, 1_000)

    def run():
        for n in range(count):
            assert call(n) == n + 1

    report(us=each(count, 1e-6, run))


def pool():
    workers = multiprocessing.get_context("fork").Pool(2)
    measure(lambda n: workers.apply(next_one, (n,)))


def executor():
    workers = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork"))
    measure(lambda n: workers.submit(next_one, n).result())


if __name__ == "__main__":
    {"pool": pool, "executor": executor}[sys.argv[1]]()
