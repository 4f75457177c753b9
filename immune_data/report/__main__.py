"""Write one HTML page that shows an emitted dataset to people who must judge it.

    python -m immune_data.report --recipe unified-v2

In: an emitted recipe, its manifest and its relations. Out: `report/<recipe>.html`, which needs
neither a network nor a script, and its figures as SVG and PNG in `report/<recipe>/figures/`. The
same dataset gives the same bytes. Nothing of a dataset enters the page but as escaped text.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data import recipes
from immune_data.common import cli, files
from immune_data.common.errors import ImmuneError

if TYPE_CHECKING:
    import duckdb

    from immune_data.audit.checks import Result
    from immune_data.contract.manifest import Manifest
    from immune_data.recipes import Recipe
    from immune_data.report.figures import Drawn

Row = dict[str, Any]

_RELATIONS = "overview", "scores", "leads", "lengths", "fit", "evidence", "balance", "examples"
_OFFENDERS = 3  # rows shown of a check that found some


@dataclass(frozen=True)
class Offence:
    """What a check found, with some of the rows."""

    result: Result
    columns: list[str]
    rows: list[tuple]


@dataclass(frozen=True)
class Facts:
    """All that a page shows."""

    manifest: Manifest
    models: list[str]
    limits: dict[str, float]
    funnel: list[Row]
    overview: Row
    scores: list[Row]
    leads: list[Row]
    lengths: list[Row]
    fit: list[Row]
    evidence: list[Row]
    balance: list[Row]
    examples: list[Row]
    audit: list[Offence]


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "immune_data.report",
        summary="Write one HTML page that shows an emitted dataset, and its figures.",
        example="python -m immune_data.report --recipe unified-v2",
    )
    cli.add_out(parser)
    cli.add_recipe(parser)
    parser.add_argument(
        "--to",
        type=Path,
        metavar="FILE",
        help="the page's path (default: report/<recipe>.html in the folder of the artifacts); "
        "the figures go into a folder of its name beside it",
    )
    return cli.run(parser, _command, argv)


def _command(arguments: argparse.Namespace) -> None:
    recipe = recipes.load(arguments.recipe)
    path = arguments.to or arguments.out / "report" / f"{recipe.name}.html"
    files.target(path)
    if path.suffix not in (".html", ".htm"):
        raise ImmuneError(f"{path} should have a name that ends in .html")
    with cli.progress() as report:
        facts = gather(arguments.out, recipe, report)
        report("drawing figures")
        figures = drawn(facts)
    from immune_data.report.page import render

    write(path, render(facts, figures), figures)
    print(f"wrote {path} and {len(figures)} figures in {path.with_suffix('') / 'figures'}")


def gather(out: Path, recipe: Recipe, report: Callable[[str], None] = lambda line: None) -> Facts:
    """Ask an emitted recipe for everything that its page shows.

    Raises:
        ImmuneError: it is not emitted, or the database is that of another run.
        CheckFailed: an emitted file is not the one that the manifest names.
    """
    from immune_data.audit import checks
    from immune_data.contract import manifest
    from immune_data.select.database import reading
    from immune_data.select.steps import sql_folder

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
        found = {
            name: _asked(connection, (sql_folder() / "report" / f"{name}.sql").read_text("utf-8"))
            for name in _RELATIONS
        }
        [overview] = found.pop("overview")
        [gates] = _asked(
            connection,
            "select summary_score_min as summary, cause_total_min as cause, "
            "risk_total_min as risk from settings",
        )
        audit = []
        for check in checks.load():
            report(f"checking {check.name}")
            [result] = checks.run(connection, [check])
            audit.append(_offence(connection, result))
        return Facts(
            manifest=content,
            models=list(content.inputs.settings["models"]),
            limits=gates,
            funnel=_asked(connection, "from funnel"),
            overview=overview,
            audit=audit,
            **found,
        )


def _asked(connection: duckdb.DuckDBPyConnection, query: str) -> list[Row]:
    found = connection.execute(query)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _offence(connection: duckdb.DuckDBPyConnection, result: Result) -> Offence:
    from immune_data.audit import checks

    if not result.rows:
        return Offence(result, [], [])
    frame = checks.rows(connection, result.check, _OFFENDERS)
    return Offence(result, frame.columns, frame.rows())


def drawn(facts: Facts) -> list[Drawn]:
    """The figures of a page."""
    from immune_data.report import figures

    settings = facts.manifest.inputs.settings
    limit = settings["dag"]["limit"] if settings["dag"]["unit"] == "tokens" else None
    context = facts.overview["context"]
    first, last = facts.funnel[0], facts.overview
    scored = ", ".join(f"{task} {facts.limits[task]:g}" for task in facts.limits)
    return [
        figures.draw(
            "funnel",
            "The way of the incidents",
            f"Bars step by step, from {first['incidents']:,} incidents read to the "
            f"{last['incidents_emitted']:,} that records were emitted of; what a step loses is "
            "set off in orange at the end of its bar.",
            lambda narrow: figures.funnel(facts.funnel, narrow),
        ),
        figures.draw(
            "scores",
            "Scores by model and task",
            f"A histogram per model and task of what the standing judge runs gave. A dashed line "
            f"marks the gate ({scored}); scores below it are orange.",
            lambda narrow: figures.scores(facts.scores, facts.models, facts.limits, narrow),
        ),
        figures.draw(
            "winners",
            "Who wins, and by how much",
            "Incidents of the pool by the model with the best score, for the two scores that "
            "decide, and by the points it is ahead of the next; ties are orange.",
            lambda narrow: figures.winners(facts.leads, facts.models, narrow),
        ),
        figures.draw(
            "tokens",
            "Conversation lengths and the context",
            f"A histogram per task of the tokens of a conversation. A dashed line marks the "
            f"context of {context:,} tokens; {last['over_context']:,} conversations end past it, "
            "in orange.",
            lambda narrow: figures.tokens(facts.lengths, facts.fit, context, narrow),
        ),
        figures.draw(
            "evidence",
            "Length of the evidence",
            "Emitted incidents by the tokens of their evidence. Those whose evidence was cut "
            "are orange" + (f"; a dashed line marks the limit of {limit:,}." if limit else "."),
            lambda narrow: figures.evidence(facts.evidence, limit, narrow),
        ),
        figures.draw(
            "balance",
            "Train and eval, value by value",
            "For each task, origin, model, category and risk level, two bars: its share of the "
            "records of train, and of eval.",
            lambda narrow: figures.balance(facts.balance, narrow),
        ),
    ]


def write(path: Path, page: str, figures: Sequence[Drawn]) -> None:
    """Write the page and the figures beside it; each file is whole or not there.

    Raises:
        ImmuneError: the folder cannot be written.
    """
    folder = path.with_suffix("")
    staged = folder / ".figures.unfinished"
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        for figure in figures:
            (staged / f"{figure.name}.svg").write_text(figure.svg, encoding="utf-8")
            (staged / f"{figure.name}.png").write_bytes(figure.png)
        with files.replacing(path) as beside:
            beside.write_text(page, encoding="utf-8")
            for file in sorted(staged.iterdir()):
                file.replace(folder / "figures" / file.name)
    except OSError as error:
        raise ImmuneError(f"cannot write {path}: {error.strerror}") from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
