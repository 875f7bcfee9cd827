"""A long argument to a warm pool of one worker."""

import statistics
import sys
import time

from sample import calls_of, report, size

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


if __name__ == "__main__":
    measure(calls_of(ends, sys.argv[1], 1))
