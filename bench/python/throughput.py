"""Many tasks at once through a pool of two workers."""

import sys

import sample
from sample import rate, report, size

WARM = 1_000


def next_one(n):
    return n + 1


def measure(count, run):
    assert sum(run(range(WARM))) == sum(range(1, WARM + 1))
    results = 0

    def all_of_them():
        nonlocal results
        for _ in run(range(count)):
            results += 1

    per_second = rate(count, all_of_them)
    assert results == count
    report(rate=per_second)


def chunked(kind, count, chunk):
    """Maps with chunks of a given length."""
    workers = {"executor": sample.executor, "loky": sample.loky}[kind](2)
    measure(count, lambda args: workers.map(next_one, args, chunksize=chunk))


def pool(count, map_of):
    measure(count, map_of(sample.pool(2)))


if __name__ == "__main__":
    {
        "pool_one": lambda: pool(
            size(50_000, 10_000), lambda p: lambda args: p.map(next_one, args, chunksize=1)
        ),
        "pool_imap": lambda: pool(
            size(30_000, 5_000), lambda p: lambda args: p.imap(next_one, args)
        ),
        "pool_chunked": lambda: pool(
            size(2_000_000, 500_000), lambda p: lambda args: p.map(next_one, args)
        ),
        "executor_one": lambda: chunked("executor", size(10_000, 2_000), 1),
        "executor_chunked": lambda: chunked("executor", size(500_000, 100_000), 1_000),
        "loky_one": lambda: chunked("loky", size(10_000, 2_000), 1),
        "loky_chunked": lambda: chunked("loky", size(500_000, 100_000), 1_000),
    }[sys.argv[1]]()
