"""Recipes: a TOML file of thresholds and choices in, a checked `Recipe` out.

A recipe may extend another one, either a shipped one or a file: its keys override the other's one
by one, and a list replaces a list. Unknown keys are refused and all values are checked, so that a
misspelt threshold is an error and never a silent default.
"""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct, inspect

from immune_data.common import textfile
from immune_data.common.errors import ImmuneError
from immune_data.common.text import suggestion

SHIPPED = Path(__file__).parent
DEFAULT = "unified-v2"

# A recipe's name is also that of a folder and of a schema in the database. DuckDB and some file
# systems do not distinguish capital letters from small ones.
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_DUCKDB_NAMES = (
    *("main", "information_schema", "pg_catalog"),  # schemas
    *("immune", "memory", "system", "temp"),  # databases, ours among them
)

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all but tabs and line ends

# msgspec's message about an unknown key, and the parts of a path in its messages.
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_PART = re.compile(r"[^.\[\]]+|\[[^\]]*\]")

# The score scales of the judges: a summary score, and the totals of three sub-scores.
SCORE_MAX = {"summary": 10, "cause": 30, "risk": 30}
SUB_SCORE_MAX = 10

Name = Annotated[str, Meta(min_length=1)]
Share = Annotated[float, Meta(gt=0, lt=1)]
_MAX = 2**31 - 1  # of anything counted
Count = Annotated[int, Meta(ge=0, le=_MAX)]
Seed = Annotated[int, Meta(ge=0, le=2**32 - 1)]


class _Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class JudgeRun(_Section, frozen=True):
    """A file of one judge's verdicts, on summaries or on causes and risks."""

    file: Name
    judges: Literal["summary", "cause_risk"]
    judge: Name
    provider: Name
    optional: bool = False
    instead_of: tuple[Name, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        return ("summary",) if self.judges == "summary" else ("cause", "risk")


class Sources(_Section, frozen=True):
    """The source files by role; judge runs in order of precedence."""

    summaries: Name
    cause_risk: Name
    judge_runs: tuple[JudgeRun, ...]


class Model(_Section, frozen=True):
    """The fields that hold a model's answers, and the spellings judges use for it."""

    summaries: Name
    cause_risk: Name
    spellings: tuple[Name, ...]


class Length(_Section, frozen=True):
    """Inclusive bounds of an answer's length, with the unit they are counted in."""

    min: Count
    max: Count
    unit: Literal["chars4", "words", "tokens"]


class Answers(_Section, frozen=True):
    """What answers must be.

    `cleaned`: by named rules, with control tokens neutralised wherever they are text; `grounded`:
    they name nothing that is missing from the evidence shown; `derived_lines`: the closing lines of
    summaries are the evidence's own (rule 14).
    """

    cleaned: bool
    grounded: bool
    derived_lines: bool


class Judging(_Section, frozen=True):
    """Which of several judge runs count, and the lead that makes a winner (rules 1, 3 and 16)."""

    combine: Literal["first", "mean"]
    margin: Annotated[float, Meta(ge=0, le=SCORE_MAX["cause"])]


class Choice(_Section, frozen=True):
    """Whose risk answer is used: the cause winner's (rule 3), or that of the best risk's own model
    (rule 12)."""

    risk: Literal["cause_winner", "own"]


class Gates(_Section, frozen=True):
    """What an incident must pass to be in the unified dataset (rule 4)."""

    look_at: Literal["any", "winner"]
    summary_score_min: Annotated[float, Meta(ge=0, le=SCORE_MAX["summary"])]
    cause_total_min: Annotated[float, Meta(ge=0, le=SCORE_MAX["cause"])]
    risk_total_min: Annotated[float, Meta(ge=0, le=SCORE_MAX["risk"])]
    summary_length: Length
    cause_length: Length
    risk_length: Length
    risk_level: bool


class Split(_Section, frozen=True):
    """How passing incidents are divided into eval and train (rules 5 and 15)."""

    method: Literal["shuffle", "groups", "hashed"]
    key: Name
    eval_share: Annotated[float, Meta(ge=0, lt=1)]
    seed: Seed


class Risk(_Section, frozen=True):
    """The standalone cause and risk dataset (rule 8)."""

    cause_length: Length
    risk_length: Length
    eval_share: Share
    seed: Seed


class Dag(_Section, frozen=True):
    """How a record shows the evidence: its lines up to a limit (rule 7), or condensed (rule 11)."""

    form: Literal["lines", "condensed"]
    values: Annotated[int, Meta(ge=1, le=1000)]
    limit: Annotated[int, Meta(ge=1, le=_MAX)]
    unit: Literal["tokens", "words"]
    marker: Name
    within_context: bool


class Records(_Section, frozen=True):
    """Which records are emitted (rules 6 and 9)."""

    dataset: Literal["unified", "risk"]
    augmentation: Literal["none", "not_in_train", "not_in_splits"]
    cause_risk_copies: Annotated[int, Meta(ge=1, le=100)]
    max_sequence_tokens: Annotated[int, Meta(ge=1, le=_MAX)]
    prompt_layout: Literal["documented", "evidence-first"]


class Audit(_Section, frozen=True):
    """The limits of the checks of `audit`."""

    dag_resemblance: Annotated[float, Meta(gt=0, le=1)]


class Recipe(_Section, frozen=True):
    """Everything that determines what is emitted, except for the sources themselves."""

    name: Name
    file: Name | None  # of a recipe that is not shipped
    description: Name
    prompts: Name
    sources: Sources
    models: dict[Name, Model]
    judging: Judging
    answers: Answers
    choice: Choice
    gates: Gates
    split: Split
    risk: Risk
    dag: Dag
    records: Records
    audit: Audit

    @property
    def prompts_folder(self) -> Path:
        return Path(self.prompts)

    @property
    def settings(self) -> dict[str, Any]:
        """The recipe as plain values, without the paths that it and its prompts were read from."""
        values = msgspec.json.decode(msgspec.json.encode(self))
        del values["prompts"], values["file"]
        return values

    @property
    def argument(self) -> str:
        """This recipe as an argument on a command line."""
        return self.name if self.file is None else shlex.quote(self.file)

    @property
    def dag_marker(self) -> str:
        return self.dag.marker.replace("{limit}", str(self.dag.limit))


def names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def add_option(parser: ArgumentParser) -> None:
    """The option that names a recipe, in every command that takes one."""
    parser.add_argument(
        "--recipe",
        default=DEFAULT,
        help=f"a shipped recipe or the path of a .toml file (default: {DEFAULT})",
    )


def load(name_or_path: str) -> Recipe:
    """The recipe of a shipped name or of a path that ends in `.toml`.

    Raises:
        ImmuneError: there is no such recipe, or a key of it is unknown, missing or has a bad value.
    """
    path = _locate(name_or_path, Path.cwd())
    try:
        values = _composed(_read(path, ()))
    except RecursionError:
        raise ImmuneError(f"recipe {path} is nested too deeply") from None
    shipped = path.parent == SHIPPED.resolve()
    values |= {"name": path.stem, "file": None if shipped else str(path)}
    try:
        recipe = msgspec.convert(values, Recipe)
    except msgspec.ValidationError as error:
        raise ImmuneError(f"recipe {path}: {_sentence(error)}") from None
    complaint = _complaint(recipe)
    if complaint:
        raise ImmuneError(f"recipe {path}: {complaint}")
    return recipe


def _locate(name_or_path: str, folder: Path) -> Path:
    if name_or_path.endswith(".toml") and "\0" not in name_or_path:
        path: Path | None = folder / os.path.expanduser(name_or_path)  # noqa: PTH111 (of any name)
    else:
        path = SHIPPED / f"{name_or_path}.toml" if name_or_path in names() else None
    if path is None or not path.is_file():
        raise ImmuneError(
            f"there is no recipe {name_or_path}: name one of {', '.join(names())}, "
            "or give the path of a .toml file"
        )
    return path.resolve()


def _read(path: Path, children: tuple[Path, ...]) -> dict[str, Any]:
    if path in children:
        raise ImmuneError(f"recipe {path}: `extends` leads back to itself")
    text = textfile.read(path)
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ImmuneError(f"recipe {path} is not TOML: {error}") from None
    for entry in _texts(values):
        if _CONTROL.search(entry):
            raise ImmuneError(f"recipe {path} holds a control character in {entry!r}")
    if isinstance(values.get("prompts"), str):
        values["prompts"] = str((path.parent / values["prompts"]).resolve())
    for key in ("name", "file"):
        if key in values:
            raise ImmuneError(
                f"recipe {path}: unknown field `{key}`: a recipe's name is its file's"
            )
    parent = values.pop("extends", None)
    if parent is None:
        return values
    if not isinstance(parent, str):
        raise ImmuneError(f"recipe {path}: `extends` should be a recipe's name or path")
    return _overlay(_read(_locate(parent, path.parent), (*children, path)), values)


def _texts(value: Any) -> Iterator[str]:
    """Every text in the values, keys among them."""
    match value:
        case dict():
            yield from value
            for entry in value.values():
                yield from _texts(entry)
        case list():
            for entry in value:
                yield from _texts(entry)
        case str():
            yield value


def _composed(value: Any, key: str = "") -> Any:
    """The values with their texts composed, all but a path: it is compared with other texts."""
    match value:
        case dict():
            return {
                textfile.composed(name): _composed(entry, name) for name, entry in value.items()
            }
        case list():
            return [_composed(entry) for entry in value]
        case str() if key != "prompts":
            return textfile.composed(value)
    return value


def _overlay(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        inherited = base.get(key)
        if isinstance(value, dict) and isinstance(inherited, dict):
            value = _overlay(inherited, value)
        merged[key] = value
    return merged


def _sentence(error: msgspec.ValidationError) -> str:
    what, _, where = str(error).partition(" - at `")
    key = where.removesuffix("`").removeprefix("key` in `").removeprefix("$").lstrip(".")
    place = f" in `{key}`" if key else ""
    match _UNKNOWN.fullmatch(what), _type_at(key):
        case re.Match() as unknown, inspect.StructType(fields=fields):
            known = [field.name for field in fields]
            if not key:  # a file has no keys for its own name and path
                known = ["extends", *(name for name in known if name not in ("name", "file"))]
            hint = suggestion(unknown[1], known, f"known are {', '.join(known)}")
            return f"unknown key `{unknown[1]}`{place}: {hint}"
        case _, inspect.LiteralType(values=values) if what.startswith("Invalid enum value"):
            value = what.removeprefix("Invalid enum value ")
            return f"`{key}` is {value}: use one of {', '.join(map(str, values))}"
    return what[:1].lower() + what[1:] + place


def _type_at(key: str) -> inspect.Type:
    """The type of the value at a path in a recipe, such as `split.method`."""
    kind = inspect.type_info(Recipe)
    for part in _PART.findall(key):
        match kind:
            case inspect.StructType(fields=fields):
                kind = next((field.type for field in fields if field.name == part), kind)
            case inspect.DictType(value_type=entry) | inspect.VarTupleType(item_type=entry):
                kind = entry
    return kind


def _complaint(recipe: Recipe) -> str | None:
    """What is wrong with a recipe whose values all have their types; None if nothing is."""
    for section, lengths in (
        ("gates", ("summary_length", "cause_length", "risk_length")),
        ("risk", ("cause_length", "risk_length")),
    ):
        for key in lengths:
            length = getattr(getattr(recipe, section), key)
            if length.min > length.max:
                return f"`{section}.{key}` has a min of {length.min} above its max of {length.max}"
    for key, text in (("dag.marker", recipe.dag.marker), ("split.key", recipe.split.key)):
        if text != text.strip() or len(text.splitlines()) != 1:
            return f"`{key}` should be one line without white space around it"
    if recipe.dag.form == "condensed" and not (
        recipe.answers.cleaned and recipe.dag.within_context
    ):
        return "`dag.form` condensed needs `answers.cleaned` and `dag.within_context` to be true"
    if recipe.split.eval_share == 0 and recipe.split.method != "hashed":
        return "`split.eval_share` of 0 needs `split.method` to be hashed"
    for key in ("grounded", "derived_lines"):
        if getattr(recipe.answers, key) and recipe.dag.form != "condensed":
            return f"`answers.{key}` needs `dag.form` to be condensed"
    if recipe.choice.risk == "own" and recipe.gates.look_at != "winner":
        return "`choice.risk` own needs `gates.look_at` to be winner"
    if recipe.dag.within_context and recipe.dag.unit != "tokens":
        return "`dag.within_context` needs `dag.unit` to be tokens"
    if not _NAME.fullmatch(recipe.name) or recipe.name in _DUCKDB_NAMES:
        return (
            f"a recipe cannot be called {recipe.name!r}: rename the file, with small letters, "
            "digits, `.`, `_` and `-`"
        )
    if recipe.file is not None and recipe.name in names():
        return f"{recipe.name} is the name of a shipped recipe: rename the file"
    if not recipe.models:
        return "`models` declares no model"
    owner: dict[tuple[str, str], str] = {}
    for name, model in recipe.models.items():
        for kind, value in (
            ("summaries", model.summaries),
            ("cause_risk", model.cause_risk),
            *(("spellings", spelling) for spelling in model.spellings),
        ):
            other = owner.setdefault((kind, value), name)
            if other != name:
                return f"`models` gives {value!r} to both {other} and {name} under `{kind}`"
    files = [recipe.sources.summaries, recipe.sources.cause_risk]
    files += [run.file for run in recipe.sources.judge_runs]
    for file in files:
        if files.count(file) > 1:
            return f"`sources` names {file} twice"
        if Path(file).name != file or file.endswith(".gz"):
            return f"`sources` should name {file!r} as a file in the source folder, without .gz"
    for kind in ("summary", "cause_risk"):
        if not any(run.judges == kind for run in recipe.sources.judge_runs):
            return f"`sources.judge_runs` has no run that judges {kind}"
    for run in recipe.sources.judge_runs:
        for file in run.instead_of:
            if file not in files:
                return f"`sources.judge_runs` of {run.file}: {file} in `instead_of` is not a source"
    return None
