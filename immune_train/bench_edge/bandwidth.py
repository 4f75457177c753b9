"""How fast this machine reads its memory: a number of threads in, bytes per second out.

As STREAM measures it (McCalpin 1995): arrays much larger than the caches, each thread its own part,
the best of several passes. What is timed is reading alone, by numpy's sum of whole numbers, since a
decoding step reads weights and writes next to nothing.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

BYTES, PASSES = 512 << 20, 10
METHOD = f"numpy's sum over {BYTES >> 20} MiB, a part for each thread, the best of {PASSES} passes"


def measured(threads: int) -> float:
    """The bytes per second that so many threads read together."""
    parts = np.array_split(np.ones(BYTES // 8, dtype=np.int64), threads)
    took = []
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(PASSES):
            start = time.perf_counter()
            list(pool.map(np.sum, parts))
            took.append(time.perf_counter() - start)
    return BYTES / min(took)
