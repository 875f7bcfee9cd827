"""Shared by the scripts: the size of the run, pools, processes, the line of JSON at the end."""

import json
import multiprocessing
import os
import sys
import time
from multiprocessing import util

AT_END = []
QUICK = sys.argv[2:] == ["quick"]


def size(full, quick):
    return quick if QUICK else full


def report(note=None, **values):
    """Prints the sample and ends at once: a pool that hangs must not delay its own report."""
    for end in AT_END:
        end()
    print(json.dumps({"values": values, "note": note}), flush=True)
    os._exit(0)


def pool(workers):
    """A pool of multiprocessing, whose workers are forked."""
    return multiprocessing.get_context("fork").Pool(workers)


def executor(workers):
    """An executor of concurrent.futures, whose workers are forked."""
    # Not at the top: a spawned process imports this file, and its start is measured.
    from concurrent.futures import ProcessPoolExecutor

    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork"))


def loky(workers):
    """A pool of loky's. It leaves semaphores behind unless it is shut down."""
    from loky import get_reusable_executor

    pool = get_reusable_executor(max_workers=workers, timeout=None)
    AT_END.append(lambda: (pool.shutdown(kill_workers=True), util._exit_function()))
    return pool


def calls_of(task, kind, workers):
    """A function that runs `task` in a new pool of this kind and returns its result."""
    if kind == "pool":
        apply = pool(workers).apply
        return lambda argument: apply(task, (argument,))
    submit = {"executor": executor, "loky": loky}[kind](workers).submit
    return lambda argument: submit(task, argument).result()


def send_next(sender, n):
    sender.send(n + 1)


def next_in_a_process(context, n):
    """Starts a process that sends the next number through a pipe, and waits for its end."""
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=send_next, args=(sender, n))
    process.start()
    sender.close()
    assert receiver.recv() == n + 1
    process.join()
    receiver.close()


def each(n, unit, run):
    """The time of each of the n operations that `run` does, in units of `unit` seconds."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) / n / unit


def rate(n, run):
    return 1 / each(n, 1, run)
