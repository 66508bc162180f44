"""How fast a second thread computes while a bulk run waits for a slow server, and how fast alone.

`python second_thread.py JOB`: JOB is a `contestants.Job` as JSON. Prints a list of pairs as JSON:
the second thread's rate with the run beside it, and with a sleeping main thread.
"""

import json
import sys
import threading
import time

from contestants import Job, nontax_bills, nontax_client

LAPS = 5


class Worker(threading.Thread):
    """Pure Python work without end; `done` counts it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.done = 0

    def run(self) -> None:
        while True:
            for number in range(100):
                number * number
            self.done += 1


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    worker = Worker()
    worker.start()
    client = nontax_client(job)
    laps = []
    for _ in range(LAPS):
        began, done = time.monotonic(), worker.done
        for outcome in client.insert_bills(nontax_bills(job), concurrency=job.in_flight):
            if outcome.outcome != "inserted":
                raise RuntimeError(repr(outcome))
        took = time.monotonic() - began
        beside = (worker.done - done) / took
        began, done = time.monotonic(), worker.done
        time.sleep(took)
        laps.append((beside, (worker.done - done) / (time.monotonic() - began)))
    print(json.dumps(laps))


if __name__ == "__main__":
    main()
