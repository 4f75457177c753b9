"""Find the source files: a folder and a recipe in, the files that the recipe declares out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from immune_data.common import textfile
from immune_data.common.errors import ImmuneError
from immune_data.recipes import JudgeRun, Recipe


@dataclass(frozen=True)
class InputFile:
    """An existing source file: its declared name, role, path, and judge run if it is one."""

    name: str
    role: str
    path: Path
    run: JudgeRun | None = None


def input_files(folder: Path, recipe: Recipe) -> list[InputFile]:
    """The source files of `recipe` in `folder`, datasets first, in order of precedence.

    Raises:
        ImmuneError: a file is missing, exists in both forms, or next to one that it replaces.
    """
    sources = recipe.sources
    files = [
        InputFile(name, role, require(folder, name))
        for name, role in (
            (sources.summaries, "summaries"),
            (sources.cause_risk, "cause_risk"),
        )
    ]
    paths = {run.file: path for run in sources.judge_runs if (path := find(folder, run.file))}
    replaced = {}
    for run in sources.judge_runs:
        if run.file not in paths:
            continue
        for other in run.instead_of:
            if other in paths:
                raise ImmuneError(f"{paths[run.file]} replaces {paths[other]}: remove one of them")
            replaced[other] = run.file
    for run in sources.judge_runs:
        if run.file in paths:
            files.append(InputFile(run.file, f"{run.judges} judge", paths[run.file], run))
        elif not run.optional and run.file not in replaced:
            require(folder, run.file)
    for kind in ("summary", "cause_risk"):
        if not any(file.run and file.run.judges == kind for file in files):
            raise ImmuneError(f"{folder} contains no file of a {kind} judge")
    return files


def require(folder: Path, name: str) -> Path:
    """The path of source file `name` in `folder`, plain or as `name.gz`.

    Raises:
        ImmuneError: the folder or the file is missing, or both forms of the file exist.
    """
    path = find(folder, name)
    if path is None:
        raise ImmuneError(f"source file {name} (or {name}.gz) is missing from {folder}")
    return path


def find(folder: Path, name: str) -> Path | None:
    """The path of source file `name` in `folder`, plain or as `name.gz`; None if there is none.

    Raises:
        ImmuneError: the folder is missing, or both forms of the file exist.
    """
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise ImmuneError(
            f"source folder {folder} {problem}: name yours with --source, "
            "or write a sample corpus with `python -m immune_data.sample`"
        )
    forms = (name, f"{name}.gz")
    if name.isascii():
        paths = [folder / form for form in forms if (folder / form).is_file()]
    else:  # the file system may store the name decomposed
        paths = sorted(path for path in _files(folder) if textfile.composed(path.name) in forms)
    if len(paths) == 2:
        raise ImmuneError(f"both {paths[0]} and {paths[1]} exist: remove one of them")
    return paths[0] if paths else None


def _files(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        raise ImmuneError(f"cannot read {folder}: {error.strerror}") from None
