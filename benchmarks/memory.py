"""The peak memory of a process, for tests and benchmarks that hold a function to a limit."""

import os
import re
import subprocess
import sys
from pathlib import Path


def peak_mb() -> float:
    """Peak resident memory of this process so far, in MB.

    On Linux from /proc: there `getrusage` starts at the peak of the process that started this one, and
    would show no growth below it.
    """
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024 / 1e6
    import resource  # not there on Windows

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def extra_mb(script: str, case: str) -> float:
    """What a script that measures itself prints as its last line, in a fresh process.

    glibc keeps holes of freed blocks in its heap, a hundred MB of them: here large blocks have pages of
    their own.
    """
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
    run = [sys.executable, "-c", script, case]
    root = Path(__file__).parent.parent
    done = subprocess.run(run, capture_output=True, text=True, env=env, cwd=root, check=False)
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    return float(done.stdout)
