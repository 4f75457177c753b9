"""A file of verdicts: rows and how they came about in, a file that `read` and `evaluate` take out.

Endpoints, times and attempts are not in it, so that the same replies give the same bytes. What gave
no verdict is written to a file next to it, a line each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

import immune_data
from immune_data.ask.incidents import Reject
from immune_data.common import files
from immune_data.common.errors import ImmuneError
from immune_data.judge.questions import Judge
from immune_data.judge.verdicts import Verdicts

_MARK = "judged"  # the first key of a file that we wrote


def rejects_of(file: Path) -> Path:
    """The file, next to a file of verdicts, of what gave no verdict."""
    return file.with_name(f"{file.stem}.rejects.jsonl")


def check(file: Path) -> None:
    """Check, before the judge is asked, that the files can be written.

    Raises:
        ImmuneError: a file of the same name is not ours.
    """
    real = files.target(file)
    if file.suffix == ".gz":
        raise ImmuneError(f"{file} would not be gzipped: name it without .gz")
    if real.exists() and _head(real, 4096)[: len(_MARK) + 3] != f'{{"{_MARK}"':
        raise ImmuneError(f"{file} was not written by this command: name another file")


def _head(file: Path, size: int) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(size).decode(errors="replace")
    except OSError as error:
        raise ImmuneError(f"cannot read {file}: {error.strerror}") from None


def write(
    file: Path,
    verdicts: Verdicts,
    judge: Judge,
    *,
    candidates: Sequence[str],
    synthetic: bool,
    rejects: Iterable[Reject],
) -> None:
    """Write the verdicts and, next to them, what gave none."""
    with files.replacing(rejects_of(file)) as new:
        lines = [_line(msgspec.to_builtins(one)) for one in (*rejects, *verdicts.rejects)]
        new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with files.replacing(file) as new, new.open("w", encoding="utf-8") as output:
        output.write(_opening(judge, candidates, synthetic=synthetic))
        for number, row in enumerate(verdicts.rows):
            output.write((",\n" if number else "\n") + _line(row))
        output.write("\n]}\n")


def _opening(judge: Judge, candidates: Sequence[str], *, synthetic: bool) -> str:
    """The beginning of a file, up to its first verdict."""
    asking = judge.asking
    settings = {
        "version": immune_data.__version__,
        "judges": judge.rubric.kind,
        "mode": asking.mode,
        "rounds": [asking.first, asking.first + asking.repeats],
        "seed": asking.seed,
        "temperature": asking.temperature,
        "max_tokens": asking.max_tokens,
        "recipe": judge.recipe.name,
        "asking_sha256": judge.asking_sha256,
        "candidates": list(candidates),
    }
    head = {
        _MARK: settings,
        "judge": judge.model,
        "rubric": judge.rubric.sha256,
        "orders": asking.name,
        **({"synthetic": True} if synthetic else {}),
    }
    return f'{_line(head)[:-1]}, "incidents": ['


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def rounds_in(file: Path) -> int:
    """How many rounds of calls a file of verdicts is from; 0 if the file is not ours."""
    head = _head(file, 1 << 16)
    if not head.startswith(f'{{"{_MARK}"'):
        return 0
    try:
        settings, _ = json.JSONDecoder().raw_decode(head, len(_MARK) + 5)
        return int(settings["rounds"][1])
    except (ValueError, KeyError, IndexError, TypeError):
        return 0
