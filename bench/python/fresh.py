"""A fresh process for each task, its result sent back through a pipe."""

import multiprocessing
import sys

from sample import each, report, size


def next_one(sender, n):
    sender.send(n + 1)


def measure(method, count):
    context = multiprocessing.get_context(method)

    def one(n):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=next_one, args=(sender, n))
        process.start()
        sender.close()
        assert receiver.recv() == n + 1
        process.join()
        receiver.close()

    def run():
        for n in range(count):
            one(n)

    one(0)
    report(us=each(count, 1e-6, run))


if __name__ == "__main__":
    counts = {"fork": size(200, 50), "forkserver": size(50, 10), "spawn": size(20, 5)}
    measure(sys.argv[1], counts[sys.argv[1]])
