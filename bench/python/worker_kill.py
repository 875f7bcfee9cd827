"""Many tasks queued at two workers, one of which is killed by SIGKILL during a task."""

import collections
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import TimeoutError

import sample
from sample import report, size

TASKS = 1_000
FATAL = 100


def task(n):
    """The next number. The first two tasks keep both workers busy until all are queued."""
    if n == FATAL:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.3 if n < 2 else 0.000_2)
    return n + 1


def measure(calls, late):
    """Counts the answers of the calls that arrive before the deadline."""
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
    kinds = ", ".join(sorted(errors)) or None
    report(kinds, results=results, errors=errors.total(), unanswered=unanswered)


def pool():
    workers = sample.pool(2)
    calls = [workers.apply_async(task, (n,)).get for n in range(TASKS)]
    measure(calls, multiprocessing.TimeoutError)


def executor():
    workers = sample.executor(2)
    calls = [workers.submit(task, n).result for n in range(TASKS)]
    measure(calls, TimeoutError)


if __name__ == "__main__":
    {"pool": pool, "executor": executor}[sys.argv[1]]()
