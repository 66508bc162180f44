"""For how long a bulk run holds the GIL for each bill, apart from what is the caller's own.

`LD_PRELOAD=gil.so python gil.py JOB`: JOB is a `contestants.Job` as JSON. Prints microseconds of
CPU time. The bills are one dict again and again, and nobody looks at the outcomes: no Python code
of the caller's runs in between.
"""

import ctypes
import json
import sys
from collections import deque
from itertools import repeat

from contestants import Job, new_bill, nontax_client


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    held = ctypes.CDLL(None).gil_held
    held.restype = ctypes.c_double
    client = nontax_client(job)
    deque(client.insert_bills(repeat(new_bill(), job.warm_up), keep=0), maxlen=0)
    before = held()
    run = client.insert_bills(repeat(new_bill(), job.bills), concurrency=job.in_flight, keep=0)
    (last,) = deque(run, maxlen=1)
    after = held()
    if run.error is not None or last.outcome != "inserted":
        raise RuntimeError(f"{last!r}, {run.error!r}")
    print(json.dumps((after - before) / job.bills * 1e6))


if __name__ == "__main__":
    main()
