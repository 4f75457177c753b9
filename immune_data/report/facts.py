"""What a report shows: an emitted recipe in, its facts with the audit out.

The facts come from the recipe's manifest and, by the queries in `sql/report/`, from its relations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data.audit import checks
from immune_data.audit.checks import Check, Result
from immune_data.common import duck
from immune_data.common.errors import ImmuneError
from immune_data.contract import manifest
from immune_data.contract.manifest import Manifest
from immune_data.recipes import Recipe
from immune_data.report.judges import Compared, JudgedBy, judges
from immune_data.select import steps
from immune_data.select.database import reading

if TYPE_CHECKING:
    import duckdb

Row = dict[str, Any]

_RELATIONS = (
    *("overview", "limits", "scores", "leads", "lengths", "fit", "evidence", "balance"),
    "examples",
)
_OFFENDERS = 3  # rows shown for a check that found some


@dataclass(frozen=True)
class Offence:
    """The result of a check, with some of its rows."""

    result: Result
    columns: list[str]
    rows: list[tuple]


@dataclass(frozen=True)
class Facts:
    """Everything that a page shows."""

    manifest: Manifest
    source: str | None  # the folder of the source files, if the database has it
    models: list[str]
    limits: dict[str, float]
    funnel: list[Row]
    overview: Row
    scores: list[Row]
    leads: list[Row]
    judges: list[JudgedBy]
    compared: list[Compared]
    lengths: list[Row]
    fit: list[Row]
    evidence: list[Row]
    balance: list[Row]
    examples: list[Row]
    audit: list[Offence]


def gather(out: Path, recipe: Recipe, report: Callable[[str], None] = lambda line: None) -> Facts:
    """Gather everything that the page of an emitted recipe shows.

    Raises:
        ImmuneError: it is not emitted, or the database is that of another run.
        CheckFailed: an emitted file is not the one that the manifest names.
    """
    with reading(out, recipe) as connection:
        content = manifest.check(out / "sft" / recipe.name)
        [made_from] = connection.execute(
            "select inputs_sha256, (select bool_or(synthetic) from source_files) from recipe"
        ).fetchall()
        if made_from != (content.inputs.sha256, content.synthetic):
            raise ImmuneError(
                f"the database and {out / 'sft' / recipe.name} are of different runs: "
                f"emit {recipe.name} again"
            )
        facts = {
            name: duck.rows(connection, steps.text(f"report/{name}.sql")) for name in _RELATIONS
        }
        [overview] = facts.pop("overview")
        [limits] = facts.pop("limits")
        report("reading verdicts")
        judged, compared = judges(duck.rows(connection, steps.text("report/verdicts.sql")))
        audit = []
        for check in checks.load():
            report(f"checking {check.name}")
            audit.append(_offence(connection, check))
        return Facts(
            manifest=content,
            source=_source(connection, recipe.name),
            models=list(content.inputs.settings["models"]),
            limits=limits,
            funnel=duck.rows(connection, "from funnel"),
            overview=overview,
            judges=judged,
            compared=compared,
            audit=audit,
            **facts,
        )


def _source(connection: duckdb.DuckDBPyConnection, recipe: str) -> str | None:
    """The folder of the sources; None for a database of an earlier version."""
    columns = {name for name, *_ in connection.execute("describe main.emitted").fetchall()}
    if "source" not in columns:
        return None
    [(source,)] = connection.execute(
        "select source from main.emitted where recipe = ?", [recipe]
    ).fetchall()
    return source


def _offence(connection: duckdb.DuckDBPyConnection, check: Check) -> Offence:
    result, frame = checks.run_with_rows(connection, check, _OFFENDERS)
    return Offence(result, frame.columns if result.failed else [], frame.rows())
