"""Training speed and memory of both back ends on a GPU: a table of layouts of the same steps.

    python benchmarks/gpu.py --train data/sft/unified-clean/train.jsonl --model DIR

Every way trains on the same conversations in the same order, sixteen per step, with the real
trainer. Each runs in its own process; all load their models first and then take turns, a few steps
each, so that other load on the machine affects them equally; a ratio is the median over turns. The
first step contains the longest conversations, which decide the memory. `--model` is any Qwen2.5,
also one with random weights:

    python -m immune_train.random_model --size 1.5b --output DIR
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

DOCUMENTED = ("packing=false", "per_device_train_batch_size=2", "gradient_accumulation_steps=8")
PACKED = ("packing=true", "per_device_train_batch_size=16", "gradient_accumulation_steps=1")
HALVES = ("packing=true", "per_device_train_batch_size=8", "gradient_accumulation_steps=2")
SIXTEEN_BITS = ("load_in_4bit=false",)
# Unsloth's own way to checkpoint, which TRL's defaults replace.
REENTRANT = ('gradient_checkpointing_kwargs={"use_reentrant": true}',)

WAYS = {
    "trl, as documented": ("backend=trl", *DOCUMENTED),
    "trl, as documented, 16-bit": ("backend=trl", *DOCUMENTED, *SIXTEEN_BITS),
    "unsloth, as documented": ("backend=unsloth", *DOCUMENTED),
    "unsloth, as documented, reentrant": ("backend=unsloth", *DOCUMENTED, *REENTRANT),
    "unsloth, as documented, 16-bit": ("backend=unsloth", *DOCUMENTED, *SIXTEEN_BITS),
    "trl, packed 16 x 1": ("backend=trl", *PACKED),
    "trl, packed 16 x 1, 16-bit": ("backend=trl", *PACKED, *SIXTEEN_BITS),
    "unsloth, packed 16 x 1": ("backend=unsloth", *PACKED),
    "unsloth, packed 16 x 1, 16-bit": ("backend=unsloth", *PACKED, *SIXTEEN_BITS),
    "unsloth, packed 8 x 2": ("backend=unsloth", *HALVES),
}
STEP = 16  # conversations
WARM = 3  # steps before timing starts, including the one with the longest conversations
GIB = 1 << 30


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, required=True, help="emitted JSONL")
    parser.add_argument("--model", required=True, help="folder of a Qwen2.5 model")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), help="some of the ways")
    parser.add_argument("--turns", type=int, default=3, help="turns of each way")
    parser.add_argument("--steps", type=int, default=2, help="steps of a turn")
    parser.add_argument("--json", type=Path, help="also write the numbers to this file")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.worker:
        work(arguments)
        return 0
    results = measure(arguments)
    show(results)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0 if all("failed" not in result for result in results.values()) else 1


# The process that coordinates the turns.


def measure(arguments: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The numbers of each way, or the end of its log if it failed."""
    workers = {way: _start(way, arguments) for way in arguments.ways}
    results: dict[str, dict[str, Any]] = {}
    turns: dict[str, list[dict[str, Any]]] = {way: [] for way in workers}
    reports = {way: _next_report(worker) for way, worker in workers.items()}
    for _ in range(arguments.turns):
        for way, worker in workers.items():
            if "failed" not in reports[way]:
                _send(worker, "go")
                turn = _next_report(worker)
                reports[way] |= turn
                turns[way].append(turn)
    for way, worker in workers.items():
        worker.stdin.close()
        worker.wait(timeout=120)
        results[way] = reports[way]
        if "failed" not in reports[way]:
            seconds = median(turn["seconds"] for turn in turns[way]) / arguments.steps
            results[way] |= {
                "turns": [turn["seconds"] for turn in turns[way]],
                "seconds_per_16": seconds,
                "tokens_per_second": median(t["tokens"] / t["seconds"] for t in turns[way]),
                "supervised_per_second": median(t["supervised"] / t["seconds"] for t in turns[way]),
            }
    return results


def _start(way: str, arguments: argparse.Namespace) -> subprocess.Popen:
    log = Path(tempfile.mkdtemp(prefix="immune-gpu-")) / "log"
    worker = subprocess.Popen(
        [sys.executable, __file__, *sys.argv[1:], "--worker", way],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log.open("w"),
        text=True,
    )
    worker.log = log
    return worker


def _send(worker: subprocess.Popen, line: str) -> None:
    worker.stdin.write(line + "\n")
    worker.stdin.flush()


def _next_report(worker: subprocess.Popen) -> dict[str, Any]:
    """The next JSON line of a worker; the libraries' own lines are ignored."""
    for line in worker.stdout:
        if line.startswith('{"bench"'):
            return json.loads(line)["bench"]
    tail = worker.log.read_text(errors="replace").strip().splitlines()[-25:]
    return {"failed": "\n".join(tail)}


def show(results: dict[str, dict[str, Any]]) -> None:
    from immune_data.common.table import show

    rows = []
    for way, result in results.items():
        if "failed" in result:
            print(f"{way}: failed\n{result['failed']}\n")
            continue
        rows.append(
            [
                way,
                round(result["tokens_per_second"]),
                round(result["supervised_per_second"]),
                f"{result['seconds_per_16']:.2f}",
                f"{result['allocated'] / GIB:.1f}",
                f"{result['reserved'] / GIB:.1f}",
                f"{result['loss']:.4f}",
            ]
        )
    columns = ["way", "tokens/s", "answer tokens/s", "s per 16", "allocated GiB", "reserved GiB"]
    show(
        "steps of 16 conversations; memory is that of the step with the longest ones",
        [*columns, "loss"],
        rows,
    )
    base = results.get("unsloth, as documented", {}).get("turns")
    for way, result in results.items():
        if base and "turns" in result:
            ratios = [
                base_seconds / seconds
                for base_seconds, seconds in zip(base, result["turns"], strict=True)
            ]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(f"{way}: {median(ratios):.2f} x unsloth as documented ({spread})")


# A process that trains one way.


def work(arguments: argparse.Namespace) -> None:
    from immune_train import backends, configs

    options = WAYS[arguments.worker]
    name = options[0].partition("=")[2]
    backend = backends.choose(name)
    steps = WARM + arguments.turns * arguments.steps
    settings = configs.load(
        "unified-clean",
        [
            *options,
            f"model_name_or_path={arguments.model}",
            "order=emitted",
            f"max_steps={steps}",
            "eval_strategy=no",
            "save_strategy=no",
            "load_best_model_at_end=false",
            "logging_steps=1000",
            "per_device_eval_batch_size=2",
        ],
    )
    import torch

    from immune_train.data.labels import Renderer
    from immune_train.sft import trainer

    tokenizer = backends.tokenizer(settings)
    rows = [*Renderer(tokenizer).rows(_sample_records(arguments.train, steps))]
    model = backends.load(backend, settings)
    with tempfile.TemporaryDirectory() as output:
        loop = trainer.make(settings, model, tokenizer, rows, rows[:STEP], Path(output))
        loss = loop.evaluate()["eval_loss"]
        loop.add_callback(_turns(arguments, rows, steps, loss, torch))
        loop.train()


def _sample_records(path: Path, steps: int) -> list[Any]:
    """Records of all steps: the longest first, then a random sample of the others."""
    from immune_train.data.dataset import read_records

    records = read_records(path)
    longest = sorted(records, key=lambda record: -record.tokens)[:STEP]
    others = [record for record in records if record not in longest]
    return longest + random.Random(42).sample(others, (steps - 1) * STEP)


def _turns(
    arguments: argparse.Namespace, rows: Sequence[Any], steps: int, loss: float, torch: Any
) -> Any:
    from transformers import TrainerCallback

    def report(**numbers: Any) -> None:
        print(json.dumps({"bench": numbers}), flush=True)

    class Turns(TrainerCallback):
        """Trains during its turns, and reports the time of each turn."""

        began = 0.0

        def _await(self) -> None:
            sys.stdin.readline()
            self.began = time.perf_counter()

        def on_step_end(self, args, state, control, **kwargs):
            step = state.global_step
            torch.cuda.synchronize()
            if step == WARM:
                report(loss=loss)
                self._await()
            elif step > WARM and (step - WARM) % arguments.steps == 0:
                turn_rows = rows[(step - arguments.steps) * STEP : step * STEP]
                report(
                    seconds=time.perf_counter() - self.began,
                    tokens=sum(len(row.input_ids) for row in turn_rows),
                    supervised=sum(row.supervised for row in turn_rows),
                    allocated=torch.cuda.max_memory_allocated(),
                    reserved=torch.cuda.max_memory_reserved(),
                )
                if step < steps:
                    self._await()

    return Turns()


if __name__ == "__main__":
    sys.exit(main())
