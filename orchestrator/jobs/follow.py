"""A job's log on this terminal, to its end."""

import contextlib
import sys

from orchestrator import streams
from orchestrator.jobs.submit import INTERRUPTED, Job


def follow(job: Job) -> int:
    """Print a job's log to its end; returns its exit code. Ctrl-C stops the job, a second one ends the wait for it."""
    try:
        return job.follow(lambda text: print(streams.plain(text), end="", flush=True))
    except KeyboardInterrupt:
        print(
            f"halfwave: job {job.id} has been asked to stop and is closing its runs; "
            "press Ctrl-C again to leave without waiting",
            file=sys.stderr,
        )
        with contextlib.suppress(KeyboardInterrupt):
            job.stop()
            print("halfwave: stopped; what was committed is kept, submit again to resume", file=sys.stderr)
        return INTERRUPTED
