"""A process for one task, started by a program that holds much memory."""

import mmap
import multiprocessing
import statistics
import sys

from sample import each, next_in_a_process, report, size

SMALL = 10 << 20
LARGE = size(4 << 30, 1 << 30)
HELD = []


def hold(length):
    """Maps and touches memory, in small pages, which stays until the end."""
    place = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    place.madvise(mmap.MADV_NOHUGEPAGE)
    for offset in range(0, length, mmap.PAGESIZE):
        place[offset] = 1
    HELD.append(place)


def measure(method, count):
    context = multiprocessing.get_context(method)

    def median():
        one = lambda: each(1, 1e-3, lambda: next_in_a_process(context, 1))
        return statistics.median(one() for _ in range(count))

    next_in_a_process(context, 1)
    hold(SMALL)
    small = median()
    hold(LARGE - SMALL)
    note = "1 GiB held instead of 4" if size(False, True) else None
    report(note, small=small, large=median())


if __name__ == "__main__":
    counts = {"fork": size(30, 5), "forkserver": size(30, 5), "spawn": size(15, 5)}
    measure(sys.argv[1], counts[sys.argv[1]])
