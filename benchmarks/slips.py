"""Making incidents from alerts: time compared with a plain loop of `json.loads`, and memory.

    python benchmarks/slips.py path/to/alerts.json.gz --copies 100

In: a file of alerts. Out, for the file and for a file with many copies of it (with different ids):
the peak memory of `immune_data.slips`, and the megabytes per second that it and the loop read, in
alternating runs.
"""

from __future__ import annotations

import argparse
import gzip
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from immune_data.common import cli, table

_ID = re.compile(rb'(?<=")[0-9a-f]{8}(?=-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")')
_APART = 0x01010101  # between the ids of two copies
_LOOP = """
import json, sys
for line in open(sys.argv[1], "rb"):
    alert = json.loads(line)
    if "Note" in alert:
        json.loads(alert["Note"])
"""


def _write_copies(file: Path, copies: int, target: Path) -> Path:
    data = file.read_bytes()
    data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    with target.open("wb") as file_out:
        for copy in range(copies):
            file_out.write(
                _ID.sub(lambda m: b"%08x" % ((int(m[0], 16) + copy * _APART) % 2**32), data)  # noqa: B023
            )
    return target


def _run(command: list[str]) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds, and MiB at the peak."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{command} failed")
    peak = usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1 << 10)
    return time.monotonic() - start, usage.ru_utime + usage.ru_stime, peak


def _command(args: argparse.Namespace) -> int:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for copies in (1, args.copies):
            file = _write_copies(args.file, copies, Path(folder) / "alerts.json")
            size = file.stat().st_size / 1e6
            output = Path(folder) / "incidents.json"
            command = [
                sys.executable,
                "-m",
                "immune_data.slips",
                str(file),
                "--output",
                str(output),
            ]
            loop = [sys.executable, "-c", _LOOP, str(file)]
            runs = [(_run(command), _run(loop)) for _ in range(args.turns)]
            speeds = [statistics.median(size / run[index][1] for run in runs) for index in (0, 1)]
            ratio = statistics.median(run[0][1] / run[1][1] for run in runs)
            peaks = [round(max(run[index][2] for run in runs)) for index in (0, 1)]
            speeds = [round(speed, 1) for speed in speeds]
            rows.append([copies, round(size, 1), *speeds, round(ratio, 1), *peaks])
    columns = ["copies", "MB", "MB/s", "MB/s, loop", "times the loop", "peak MiB", "peak, loop"]
    table.show("alerts read (CPU time)", columns, rows)
    return 0


if __name__ == "__main__":
    parser = cli.parser(
        "benchmarks/slips.py",
        summary="Time and memory of making incidents from alerts.",
        example="python benchmarks/slips.py alerts.json.gz --copies 100",
    )
    parser.add_argument("file", type=Path, help="a file of alerts")
    parser.add_argument("--copies", type=cli.positive, default=100, help="(default: 100)")
    parser.add_argument("--turns", type=cli.positive, default=3, help="runs of each (default: 3)")
    sys.exit(cli.run(parser, _command, None))
