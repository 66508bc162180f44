"""What the first bills of a client cost when eight threads send one each, with a real CA bundle.

`python first_bills.py JOB`: JOB is a `contestants.Job` as JSON. Prints milliseconds of CPU time.
"""

import json
import resource
import sys
import threading

from contestants import Job, new_bill, nontax_client

THREADS = 8


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    job = Job(**json.loads(sys.argv[1]))
    client = nontax_client(job)
    threads = [
        threading.Thread(target=client.insert_bill, args=(new_bill(),)) for _ in range(THREADS)
    ]
    began = cpu()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(json.dumps((cpu() - began) * 1e3))


if __name__ == "__main__":
    main()
