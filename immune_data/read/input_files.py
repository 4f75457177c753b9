"""Which source files there are: a folder and a recipe in, the files that it declares out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from immune_data.common import textfile
from immune_data.common.errors import ImmuneError
from immune_data.recipes import JudgeRun, Recipe


@dataclass(frozen=True)
class InputFile:
    """A source file that is there: its declared name, role, path, and judge run if it is one."""

    name: str
    role: str
    path: Path
    run: JudgeRun | None = None


def input_files(folder: Path, recipe: Recipe) -> list[InputFile]:
    """The source files of `recipe` found in `folder`, datasets first, in order of precedence.

    Raises:
        ImmuneError: a file is missing, there in both forms, or beside one it stands instead of.
    """
    declared = recipe.sources
    files = [
        InputFile(name, role, required(folder, name))
        for name, role in (
            (declared.summaries, "summaries"),
            (declared.cause_risk, "cause_risk"),
        )
    ]
    found = {run.file: path for run in declared.judge_runs if (path := find(folder, run.file))}
    replaced = {}
    for run in declared.judge_runs:
        if run.file not in found:
            continue
        for other in run.instead_of:
            if other in found:
                raise ImmuneError(
                    f"{found[run.file]} stands instead of {found[other]}: remove one of them"
                )
            replaced[other] = run.file
    for run in declared.judge_runs:
        if run.file in found:
            files.append(InputFile(run.file, f"{run.judges} judge", found[run.file], run))
        elif not run.optional and run.file not in replaced:
            required(folder, run.file)
    for kind in ("summary", "cause_risk"):
        if not any(file.run and file.run.judges == kind for file in files):
            raise ImmuneError(f"{folder} holds no file of a {kind} judge")
    return files


def required(folder: Path, name: str) -> Path:
    """The path of source file `name` in `folder`, plain or as `name.gz`.

    Raises:
        ImmuneError: the folder or the file is missing, or both forms of the file are there.
    """
    path = find(folder, name)
    if path is None:
        raise ImmuneError(f"source file {name} (or {name}.gz) is missing from {folder}")
    return path


def find(folder: Path, name: str) -> Path | None:
    """The path of source file `name` in `folder`, plain or as `name.gz`; None if there is none.

    Raises:
        ImmuneError: the folder is missing, or both forms of the file are there.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise ImmuneError(
            f"source folder {folder} {what}: name yours with --source, "
            "or write a sample corpus with `python -m immune_data.sample`"
        )
    forms = (name, f"{name}.gz")
    if name.isascii():
        found = [folder / form for form in forms if (folder / form).is_file()]
    else:  # the file system may hold the name decomposed
        found = sorted(path for path in _listed(folder) if textfile.composed(path.name) in forms)
    if len(found) == 2:
        raise ImmuneError(f"both {found[0]} and {found[1]} exist: remove one of them")
    return found[0] if found else None


def _listed(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        raise ImmuneError(f"cannot read {folder}: {error.strerror}") from None
