"""Base and adapter as one model: a run in, a 16-bit model that plain transformers loads out.

The base is loaded in 16 bits, not dequantised from the 4 bits of training, and the adapter's part,
scaled by alpha / sqrt(r) with RSLoRA, is added in float32 before the sum is rounded.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from immune_data.common import cli, files
from immune_data.common.errors import ImmuneError
from immune_train.artifacts import run
from immune_train.data.labels import Row

RECORD = "merge.json"  # in the merged model's folder: the adapter that it was made from


@dataclass(frozen=True)
class Difference:
    """How far a merged model is from the adapter on its base, over some conversations' answers."""

    tokens: int
    largest: float
    same_greedy: float

    def __str__(self) -> str:
        return (
            f"over {self.tokens:,} answer tokens the largest difference of a logit is "
            f"{self.largest:.2e}, and {self.same_greedy:.2%} of the greedy tokens are the same"
        )


def merged(base: str, adapter: Path, *, revision: str = "main") -> Any:
    """The model of a 16-bit base and an adapter, in float32, on the CPU.

    Raises:
        ImmuneError: the base or the adapter cannot be loaded.
    """
    import torch

    return _with_adapter(base, adapter, revision, torch.float32).merge_and_unload(safe_merge=True)


def write(
    base: str, adapter: Path, folder: Path, *, revision: str = "main", rows: Sequence[Row] = ()
) -> Difference:
    """Write the merged model and its tokenizer to `folder`, in bfloat16.

    The difference between the written model and the adapter on its base is measured over `rows`.
    Only one model is in memory at a time.

    Raises:
        ImmuneError: the base or the adapter cannot be loaded, `folder` cannot be written, or the
            machine has too little memory.
    """
    from immune_train import backends

    backends.quiet()
    from transformers import AutoTokenizer

    with _memory(base), files.staging(folder.parent) as hidden:
        target = hidden / folder.name
        _save(base, adapter, target, revision)
        AutoTokenizer.from_pretrained(adapter).save_pretrained(target)
        comparison = difference(base, adapter, target, rows, revision=revision)
        run.write_json(
            target, RECORD, {"adapter": run.files(adapter), "difference": asdict(comparison)}
        )
        files.move(target, folder)
    return comparison


def _save(base: str, adapter: Path, folder: Path, revision: str) -> None:
    import torch

    model = merged(base, adapter, revision=revision).to(torch.bfloat16)
    model.config.dtype = torch.bfloat16
    model.config.use_cache = True
    model.generation_config.do_sample = False
    for sampling in ("temperature", "top_p", "top_k", "repetition_penalty"):
        setattr(model.generation_config, sampling, None)
    model.save_pretrained(folder)


def recorded_difference(adapter: Path, folder: Path) -> Difference | None:
    """How far the model in `folder` is from the adapter; None if it was not merged from it."""
    try:
        content = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if content["adapter"] != run.files(adapter) or not (folder / "config.json").is_file():
            return None
        return Difference(**content["difference"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def difference(
    base: str, adapter: Path, folder: Path, rows: Sequence[Row], *, revision: str = "main"
) -> Difference:
    """Compare the merged model in `folder` with the adapter on its base, over rows' answers.

    Both are in float32, one after the other, on the GPU if one of them fits, otherwise on the CPU.
    """
    import torch

    if not rows:
        return Difference(0, 0.0, 0.0)
    references = _logits(_with_adapter(base, adapter, revision, torch.float32), rows)
    results = _logits(load(folder).to(torch.float32), rows)
    largest, same, tokens = 0.0, 0, 0
    for reference, result in zip(references, results, strict=True):
        largest = max(largest, (reference - result).abs().max().item())
        same += int((reference.argmax(-1) == result.argmax(-1)).sum())
        tokens += len(reference)
    return Difference(tokens, largest, same / max(1, tokens))


def _logits(model: Any, rows: Sequence[Row]) -> list[Any]:
    """The model's logits for each token of the rows' answers, on the CPU."""
    import torch

    for device in _devices():
        with suppress(torch.OutOfMemoryError):
            return _logits_on(device, model, rows)
    raise MemoryError


def _devices() -> list[str]:
    import torch

    return ["cuda", "cpu"] if torch.cuda.is_available() else ["cpu"]


def _logits_on(device: str, model: Any, rows: Sequence[Row]) -> list[Any]:
    import torch

    model.to(device).eval()
    logits = []
    for row in rows:
        ids = torch.tensor([row.input_ids], device=device)
        end = min(row.end, len(row.input_ids))  # an answer may have been cut
        places = torch.arange(row.answer - 1, end - 1, device=device)
        with torch.no_grad():
            logits.append(model(input_ids=ids, logits_to_keep=places).logits[0].cpu())
    return logits


@contextmanager
def _memory(base: str) -> Iterator[None]:
    """Turn an out-of-memory error into one sentence."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        raise ImmuneError(
            f"this machine has too little memory to merge, which takes 4 bytes per parameter of "
            f"{base}: merge on a machine with more"
        ) from None


def load(folder: Path) -> Any:
    """The merged model in `folder`, in the 16 bits that it was written in."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


def _with_adapter(base: str, adapter: Path, revision: str, dtype: Any) -> Any:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from immune_train.backends import readable

    with readable(base):
        # A base that is published in float32 is first rounded to 16 bits, as in training.
        model = AutoModelForCausalLM.from_pretrained(
            base, revision=revision, dtype=torch.bfloat16, device_map=None
        )
    if not (adapter / "adapter_config.json").is_file():
        raise ImmuneError(
            f"{adapter} contains no adapter (no adapter_config.json): train one first"
        )
    return PeftModel.from_pretrained(model.to(dtype), adapter)


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "immune_train.merge",
        summary="Write a run's base model and adapter as one 16-bit model. `sft` does this when a "
        "run ends; this command does it again, or for a run that was trained with merge=false.",
        example="python -m immune_train.merge --run data/models/unified-clean",
    )
    parser.add_argument("--run", type=cli.folder, required=True, help="folder of the run")
    return parser


def command(arguments: argparse.Namespace) -> None:
    folder = arguments.run
    if not (folder / run.CONFIG).is_file():
        raise ImmuneError(f"{folder} contains no run (no {run.CONFIG}): train one first")
    settings = run.settings(folder)
    training = run.trained(folder)
    with files.locked(folder):
        comparison = write(
            settings.model_name_or_path,
            folder / run.ADAPTER,
            folder / run.MERGED,
            revision=settings.model_revision,
            rows=[Row(**row) for row in training.compared] if training else [],
        )
    if comparison.tokens:
        print(f"{run.MERGED} compared with the adapter on its base: {comparison}")
    print(f"wrote {folder / run.MERGED}")


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
