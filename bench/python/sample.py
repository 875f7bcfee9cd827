"""What every script shares: the size of the run, and the one line of JSON at its end."""

import json
import os
import sys
import time

QUICK = sys.argv[2:] == ["quick"]


def size(full, quick):
    return quick if QUICK else full


def report(note=None, **values):
    """Prints the sample and ends at once: a pool that hangs must not hold up its own report."""
    print(json.dumps({"values": values, "note": note}), flush=True)
    os._exit(0)


def each(n, unit, run):
    """How long each of the n things that `run` does takes, in units of `unit` seconds."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) / n / unit


def rate(n, run):
    return 1 / each(n, 1, run)
