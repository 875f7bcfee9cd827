"""What every script shares: the size of the run, and the one line of JSON at its end."""

import json
import os
import sys
import time
from multiprocessing import util

AT_END = []
QUICK = sys.argv[2:] == ["quick"]


def size(full, quick):
    return quick if QUICK else full


def report(note=None, **values):
    """Prints the sample and ends at once: a pool that hangs must not hold up its own report."""
    for end in AT_END:
        end()
    print(json.dumps({"values": values, "note": note}), flush=True)
    os._exit(0)


def loky(workers):
    """A pool of loky's, which leaves semaphores behind unless it is ended in order."""
    from loky import get_reusable_executor

    pool = get_reusable_executor(max_workers=workers, timeout=None)
    AT_END.append(lambda: (pool.shutdown(kill_workers=True), util._exit_function()))
    return pool


def each(n, unit, run):
    """How long each of the n things that `run` does takes, in units of `unit` seconds."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) / n / unit


def rate(n, run):
    return 1 / each(n, 1, run)
