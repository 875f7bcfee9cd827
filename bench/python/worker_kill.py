"""Many tasks queued at two workers, one of which dies by SIGKILL in the midst of a task."""

import collections
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor, TimeoutError

from sample import report, size

TASKS = 1_000
FATAL = 100


def task(n):
    """The first two hold both workers until all are queued."""
    if n == FATAL:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.3 if n < 2 else 0.000_2)
    return n + 1


def measure(calls, late):
    """Takes the answer of every call, as far as they come before the bound."""
    deadline = time.monotonic() + size(20, 3)
    results, unanswered, errors = 0, 0, collections.Counter()
    for call in calls:
        try:
            call(max(0, deadline - time.monotonic()))
            results += 1
        except late:
            unanswered += 1
        except Exception as error:
            errors[type(error).__name__] += 1
    report(", ".join(sorted(errors)) or None, results=results, errors=errors.total(), unanswered=unanswered)


def pool():
    workers = multiprocessing.get_context("fork").Pool(2)
    calls = [workers.apply_async(task, (n,)).get for n in range(TASKS)]
    measure(calls, multiprocessing.TimeoutError)


def executor():
    workers = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork"))
    calls = [workers.submit(task, n).result for n in range(TASKS)]
    measure(calls, TimeoutError)


if __name__ == "__main__":
    {"pool": pool, "executor": executor}[sys.argv[1]]()
