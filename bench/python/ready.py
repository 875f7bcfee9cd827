"""A process for one task, of a program that holds much memory."""

import mmap
import multiprocessing
import statistics
import sys
import time

from sample import report, size

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


def next_one(sender, n):
    sender.send(n + 1)


def measure(method, count):
    context = multiprocessing.get_context(method)

    def one():
        start = time.perf_counter()
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=next_one, args=(sender, 1))
        process.start()
        sender.close()
        assert receiver.recv() == 2
        process.join()
        receiver.close()
        return 1e3 * (time.perf_counter() - start)

    one()
    hold(SMALL)
    small = statistics.median(one() for _ in range(count))
    hold(LARGE - SMALL)
    report("1 GiB held for 4" if size(False, True) else None, small=small, large=statistics.median(one() for _ in range(count)))


if __name__ == "__main__":
    counts = {"fork": size(30, 5), "forkserver": size(30, 5), "spawn": size(15, 5)}
    measure(sys.argv[1], counts[sys.argv[1]])
