"""What a recipe's dataset teaches: one base trained on several, measured on the same incidents.

    python benchmarks/quality.py --train SOURCE --held SOURCE --model MODEL \\
        --recipes benchmarks/clean-lines.toml unified-clean --reference unified-clean \\
        --seeds 1 2 3 --output data/quality --set load_in_4bit=false optim=adamw_torch

In: two source folders that have no incident, or group of incidents, in common, a base, and recipes.
Out, in the output folder, `quality.json`, `quality.md` and `quality.svg`: for each recipe what it
trains on and for how long, the held-out loss of a reference answer's token, and how many of the
greedy answers have the documented structure, name nothing that their evidence lacks, and never end.

All of the held source is measured. The reference answers are those that the recipe `--reference`
takes there, behind each recipe's own prompt; an incident about which one of them cannot ask is left
out for all. Each recipe and seed is a cell of its own, in `cells/`, and is made once: what is there
and was made from the same dataset, base and settings stays. So the work can be stopped at any time,
and shared:

    python benchmarks/quality.py … --prepare                       # emit and ask, without a GPU
    python benchmarks/quality.py --model MODEL --output DIR --only unified-clean 1 --only …
    python benchmarks/quality.py --output DIR                      # the tables, of what is there

A variant of a recipe is trained with other settings, on some tasks only, or not at all; its cells
are called RECIPE@VARIANT and may stand in one table with the recipe's own:

    python benchmarks/quality.py --model MODEL --output DIR --only unified-clean 1 \\
        --variant r16 --set lora_r=16 lora_alpha=16
    python benchmarks/quality.py --model MODEL --output DIR --only unified-clean 1 \\
        --variant summary-only --tasks summary
    python benchmarks/quality.py --model MODEL --output DIR --only unified-clean 0 \\
        --variant base --untrained
    python benchmarks/quality.py --output DIR --recipes unified-clean unified-clean@r16 --seeds 1

With the tables come `answers/RECIPE-SEED.jsonl`, the answers as `immune_train.generate --eval`
writes them, for `immune_train.evaluate` and `immune_train.score`.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import quality_answers
import quality_cell
import quality_held
import quality_table
from quality_cell import Cell, Setting
from quality_held import Held

from immune_data.common import cli, jsonfile
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.prompts import TASKS
from immune_train.score import intervals

LIMIT = 1_000

# What the cells of one table have in common; those of variants need not be trained alike.
_BASE = ("model", "limit")
_TRAINING = ("config", "settings")
_FILES = (*quality_held.SPLITS, quality_held.RECORDS)


def parser() -> argparse.ArgumentParser:
    made = cli.parser(
        "benchmarks.quality",
        summary="Train the same base on several recipes, and measure all on the same incidents.",
        example="python benchmarks/quality.py --train data/source --held data/held-source "
        "--model MODEL --recipes unified-v2 unified-clean --reference unified-clean "
        "--output data/quality",
    )
    made.add_argument("--train", type=Path, metavar="SOURCE", help="source folder to train on")
    made.add_argument("--held", type=Path, metavar="SOURCE", help="source folder to measure on")
    made.add_argument(
        "--recipes",
        nargs="+",
        metavar="RECIPE",
        help="shipped recipes or paths of .toml files; all are compared with the first "
        "(default: those that were prepared)",
    )
    made.add_argument("--reference", metavar="RECIPE", help="the recipe whose answers are measured")
    made.add_argument("--prepare", action="store_true", help="prepare both sources, and stop")
    made.add_argument("--model", help="base model: a folder or a model of the Hub")
    made.add_argument("--seeds", nargs="+", type=cli.seed, default=[1, 2, 3], help="default: 1 2 3")
    made.add_argument(
        "--only",
        nargs=2,
        action="append",
        metavar=("RECIPE", "SEED"),
        help="make this cell, and no table; may be given several times",
    )
    made.add_argument("--config", default="unified-clean", help="of sft (default: unified-clean)")
    made.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="key=value", help="settings of sft"
    )
    made.add_argument(
        "--variant", type=_variant, metavar="NAME", help="call the cells that are made RECIPE@NAME"
    )
    made.add_argument(
        "--tasks",
        nargs="+",
        choices=TASKS,
        default=list(TASKS),
        help="train on and measure these tasks (default: all)",
    )
    made.add_argument("--untrained", action="store_true", help="measure the base as it is")
    made.add_argument(
        "--limit",
        type=cli.positive,
        default=LIMIT,
        metavar="TOKENS",
        help=f"an answer that is longer never ends (default: {LIMIT:,})",
    )
    made.add_argument("--output", type=Path, required=True, help="folder of all that is made")
    return made


def command(arguments: argparse.Namespace) -> int | None:
    output = arguments.output
    held = _prepared(arguments)
    if arguments.prepare:
        print(f"prepared {output / quality_held.FOLDER}: {_said(held)}")
        return
    names = [_name(recipe) for recipe in arguments.recipes or held.recipes]
    for name in names:
        _known(held, name)
    if arguments.only and not arguments.model:
        raise ImmuneError("--only makes a cell: name the base with --model")
    if arguments.model:
        variant = f"{quality_cell.VARIANT}{arguments.variant}" if arguments.variant else ""
        every = [(f"{name}{variant}", seed) for seed in arguments.seeds for name in names]
        chosen = [
            (f"{_name(recipe)}{variant}", cli.seed(seed)) for recipe, seed in arguments.only or ()
        ]
        for name, _ in chosen:
            _known(held, name)
        _make(output, chosen or every, _setting(arguments))
    if not arguments.only:
        return _table(output, held, _cells(output, names, arguments.seeds))


def _prepared(arguments: argparse.Namespace) -> Held:
    """What is trained on and asked, made of the sources where they are given."""
    sources = (arguments.train, arguments.held)
    if not any(sources) and not arguments.prepare:
        return quality_held.read(arguments.output)
    if not all((*sources, arguments.recipes, arguments.reference)):
        raise ImmuneError("to prepare takes --train, --held, --recipes and --reference: give all")
    with cli.progress() as report:
        return quality_held.prepare(
            *sources, arguments.recipes, arguments.reference, arguments.output, report
        )


def _variant(name: str) -> str:
    if not re.fullmatch(r"[\w.-]+", name):
        raise argparse.ArgumentTypeError(f"{name} should be letters, digits, '.', '_' and '-'")
    return name


def _setting(arguments: argparse.Namespace) -> Setting:
    tasks = tuple(task for task in TASKS if task in arguments.tasks)
    if not arguments.variant and (tasks != TASKS or arguments.untrained):
        raise ImmuneError("--tasks and --untrained are of a variant: name it with --variant")
    return Setting(
        arguments.model,
        arguments.config,
        tuple(arguments.set),
        arguments.limit,
        tasks,
        not arguments.untrained,
    )


def _name(recipe: str) -> str:
    return Path(recipe).stem if recipe.endswith(".toml") else recipe


def _known(held: Held, name: str) -> None:
    if quality_cell.recipe_of(name) not in held.recipes:
        raise ImmuneError(
            f"no recipe {name} was prepared: name one of {', '.join(held.recipes)}, or prepare it"
        )


def _make(output: Path, wanted: Sequence[tuple[str, int]], setting: Setting) -> None:
    """Make the cells that are not there, or were made from something else."""
    shared = quality_cell.of_setting(setting)
    for name, seed in wanted:
        depends = {**quality_cell.of_files(output, name), **shared}
        there = quality_cell.read(output, name, seed)
        if there is not None and there.depends == depends:
            print(f"{quality_cell.path(output, name, seed)} is there", file=sys.stderr)
            continue
        made = quality_cell.make(output, name, seed, setting, depends)
        print(
            f"made {quality_cell.path(output, name, seed)}: trained in {made.seconds:.0f} seconds,"
            f" measured in {made.measured_seconds:.0f}",
            file=sys.stderr,
        )


def _cells(output: Path, names: Sequence[str], seeds: Sequence[int]) -> dict[str, list[Cell]]:
    """The cells of a table, which must all be there and have all in common but recipe and seed,
    and variants the base and the length of answers.

    Raises:
        CheckFailed: they are not, or have not.
    """
    found: dict[str, list[Cell]] = {name: [] for name in names}
    common = _BASE if any(quality_cell.VARIANT in name for name in names) else _BASE + _TRAINING
    shared, lacking = None, []
    for name in names:
        files = quality_cell.of_files(output, name)
        for seed in seeds:
            cell = quality_cell.read(output, name, seed)
            if cell is None or not files.items() <= cell.depends.items():
                lacking.append(f"{name} {seed}")
                continue
            of_cell = {key: value for key, value in cell.depends.items() if key in common}
            if shared not in (None, of_cell):
                raise CheckFailed(
                    f"{quality_cell.path(output, name, seed)} was made with another base or other "
                    "settings than those before it: make it again with --only"
                )
            shared = of_cell
            found[name].append(cell)
    if lacking:
        raise CheckFailed(
            f"{len(lacking)} cells are not there, or of another dataset: {', '.join(lacking)}; "
            "make them with --model, or name others with --recipes and --seeds"
        )
    return found


def _table(output: Path, held: Held, cells: dict[str, list[Cell]]) -> None:
    asked = {name: quality_cell.held(output, name) for name in cells}
    found = quality_table.results(held, cells, asked)
    made = quality_table.tables(held, found)
    quality_table.show(made)
    one = next(iter(cells.values()))[0]
    content = {
        "reference": held.reference,
        "incidents": len(held.incidents),
        "groups": len({incident.group for incident in held.incidents.values()}),
        "left_out": held.left_out,
        "setting": {key: one.depends[key] for key in (*_BASE, *_TRAINING)},
        "variants": {
            name: {key: value for key, value in of[0].depends.items() if key not in _FILES}
            for name, of in cells.items()
            if quality_cell.VARIANT in name
        },
        "hardware": sorted({cell.hardware for of in cells.values() for cell in of}),
        "intervals": {**intervals.METHODS, "shares": intervals.METHODS["means"], "of": "groups"},
        "results": found,
    }
    quality_table.write(output / "quality.json", jsonfile.text(msgspec.to_builtins(content)))
    shown_by = held.reference if held.reference in cells else next(iter(cells))
    notes = [
        f"{_said(held)}. All seeds are pooled; intervals are of 95 %, over groups. What was shown "
        f"is what a recipe's own prompts show of the evidence, and to `reference` what {shown_by} "
        "shows."
    ]
    quality_table.write(output / "quality.md", quality_table.markdown(made, notes))
    quality_table.draw(found, output / "quality.svg")
    for of in cells.values():
        for cell in of:
            quality_answers.write(output, cell)
    print(f"wrote {', '.join(str(output / f'quality.{kind}') for kind in ('json', 'md', 'svg'))}")


def _said(held: Held) -> str:
    groups = len({incident.group for incident in held.incidents.values()})
    left_out = len({one.incident_id for one in held.left_out})
    return (
        f"{len(held.incidents):,} incidents of {groups:,} groups with the answers of "
        f"{held.reference}, {left_out:,} left out"
    )


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
