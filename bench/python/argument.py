"""A long argument to a warm pool of one worker."""

import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import sample
from sample import report, size

BYTES = 100 << 20


def ends(data):
    return data[0] + data[-1] + len(data)


def measure(call):
    def one():
        data = b"\1" * BYTES
        start = time.perf_counter()
        assert call(data) == 2 + BYTES
        del data
        return time.perf_counter() - start

    one()
    report(ms=1e3 * statistics.median(one() for _ in range(size(15, 5))))


def pool():
    workers = multiprocessing.get_context("fork").Pool(1)
    measure(lambda data: workers.apply(ends, (data,)))


def executor():
    workers = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))
    measure(lambda data: workers.submit(ends, data).result())


def loky():
    workers = sample.loky(1)
    measure(lambda data: workers.submit(ends, data).result())


if __name__ == "__main__":
    {"pool": pool, "executor": executor, "loky": loky}[sys.argv[1]]()
