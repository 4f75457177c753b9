"""What recipes teach: the same base trained on several, evaluated on the same incidents.

    python benchmarks/quality.py --train SOURCE --held SOURCE --model MODEL \\
        --recipes benchmarks/clean-lines.toml unified-clean --reference unified-clean \\
        --seeds 1 2 3 --output data/quality --set load_in_4bit=false optim=adamw_torch

In: two source folders that share no incident and no group of incidents, a base, and recipes. Out,
in the output folder, `quality.json`, `quality.md` and `quality.svg`: for each recipe its train
tokens and seconds, the held-out loss per token of the reference answers, and how many of the greedy
answers have the documented structure, name only what is in their evidence, and never end.

All incidents of the held source are used. The reference answers are those that the recipe
`--reference` selects there, with each recipe's own prompt; an incident for which one recipe cannot
make a prompt is left out for all. Each recipe and seed has its own cell, in `cells/`, which is made
once: a cell that was made from the same dataset, base and settings is kept. So the work can be
stopped at any time, and divided:

    python benchmarks/quality.py … --prepare                       # emit, write questions
    python benchmarks/quality.py --model MODEL --output DIR --only unified-clean 1 --only …
    python benchmarks/quality.py --output DIR                      # the tables of existing cells

A variant of a recipe is trained with other settings, on some tasks only, or not at all; its cells
are called RECIPE@VARIANT and can be compared with the recipe's own:

    python benchmarks/quality.py --model MODEL --output DIR --only unified-clean 1 \\
        --variant r16 --set lora_r=16 lora_alpha=16
    python benchmarks/quality.py --model MODEL --output DIR --only unified-clean 1 \\
        --variant summary-only --tasks summary
    python benchmarks/quality.py --model MODEL --output DIR --only unified-clean 0 \\
        --variant base --untrained
    python benchmarks/quality.py --output DIR --recipes unified-clean unified-clean@r16 --seeds 1

The tables are written with `answers/RECIPE-SEED.jsonl`, answers as `immune_train.generate --eval`
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

# What the cells of one table must share; variants may differ in training.
_BASE = ("model", "limit")
_TRAINING = ("config", "settings")
_FILES = (*quality_held.SPLITS, quality_held.RECORDS)


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "benchmarks.quality",
        summary="Train the same base on several recipes, and evaluate all on the same incidents.",
        example="python benchmarks/quality.py --train data/source --held data/held-source "
        "--model MODEL --recipes unified-v2 unified-clean --reference unified-clean "
        "--output data/quality",
    )
    parser.add_argument("--train", type=Path, metavar="SOURCE", help="source folder to train on")
    parser.add_argument("--held", type=Path, metavar="SOURCE", help="source folder to evaluate on")
    parser.add_argument(
        "--recipes",
        nargs="+",
        metavar="RECIPE",
        help="shipped recipes or paths of .toml files; all are compared with the first "
        "(default: those that were prepared)",
    )
    parser.add_argument(
        "--reference", metavar="RECIPE", help="the recipe whose answers are the reference"
    )
    parser.add_argument("--prepare", action="store_true", help="prepare both sources, and stop")
    parser.add_argument("--model", help="base model: a folder or a model of the Hub")
    parser.add_argument(
        "--seeds", nargs="+", type=cli.seed, default=[1, 2, 3], help="default: 1 2 3"
    )
    parser.add_argument(
        "--only",
        nargs=2,
        action="append",
        metavar=("RECIPE", "SEED"),
        help="make only this cell, and no table; can be repeated",
    )
    parser.add_argument("--config", default="unified-clean", help="of sft (default: unified-clean)")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="key=value", help="settings of sft"
    )
    parser.add_argument(
        "--variant", type=_variant, metavar="NAME", help="name the new cells RECIPE@NAME"
    )
    parser.add_argument(
        "--tasks",
        nargs="+",
        choices=TASKS,
        default=list(TASKS),
        help="train and evaluate on these tasks (default: all)",
    )
    parser.add_argument("--untrained", action="store_true", help="evaluate the untrained base")
    parser.add_argument(
        "--limit",
        type=cli.positive,
        default=LIMIT,
        metavar="TOKENS",
        help=f"a longer answer counts as never ending (default: {LIMIT:,})",
    )
    parser.add_argument("--output", type=Path, required=True, help="folder to write to")
    return parser


def command(arguments: argparse.Namespace) -> int | None:
    output = arguments.output
    held = _prepare_or_read(arguments)
    if arguments.prepare:
        print(f"prepared {output / quality_held.FOLDER}: {_description(held)}")
        return
    names = [_name(recipe) for recipe in arguments.recipes or held.recipes]
    for name in names:
        _check_known(held, name)
    if arguments.only and not arguments.model:
        raise ImmuneError("--only makes a cell: name the base with --model")
    if arguments.model:
        variant = f"{quality_cell.VARIANT}{arguments.variant}" if arguments.variant else ""
        every = [(f"{name}{variant}", seed) for seed in arguments.seeds for name in names]
        selected = [
            (f"{_name(recipe)}{variant}", cli.seed(seed)) for recipe, seed in arguments.only or ()
        ]
        for name, _ in selected:
            _check_known(held, name)
        _make(output, selected or every, _setting(arguments))
    if not arguments.only:
        return _table(output, held, _cells(output, names, arguments.seeds))


def _prepare_or_read(arguments: argparse.Namespace) -> Held:
    """The prepared datasets and questions, made from the sources if they are named."""
    sources = (arguments.train, arguments.held)
    if not any(sources) and not arguments.prepare:
        return quality_held.read(arguments.output)
    if not all((*sources, arguments.recipes, arguments.reference)):
        raise ImmuneError(
            "preparing needs --train, --held, --recipes and --reference: give all of them"
        )
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
        raise ImmuneError("--tasks and --untrained make a variant: name it with --variant")
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


def _check_known(held: Held, name: str) -> None:
    if quality_cell.recipe_of(name) not in held.recipes:
        raise ImmuneError(
            f"no recipe {name} was prepared: name one of {', '.join(held.recipes)}, or prepare it"
        )


def _make(output: Path, cells: Sequence[tuple[str, int]], setting: Setting) -> None:
    """Make the cells that are missing or whose inputs have changed."""
    common = quality_cell.setting_dependencies(setting)
    for name, seed in cells:
        dependencies = {**quality_cell.file_dependencies(output, name), **common}
        existing = quality_cell.read(output, name, seed)
        if existing is not None and existing.depends == dependencies:
            print(f"{quality_cell.path(output, name, seed)} is up to date", file=sys.stderr)
            continue
        cell = quality_cell.make(output, name, seed, setting, dependencies)
        print(
            f"made {quality_cell.path(output, name, seed)}: trained in {cell.seconds:.0f} seconds,"
            f" measured in {cell.measured_seconds:.0f}",
            file=sys.stderr,
        )


def _cells(output: Path, names: Sequence[str], seeds: Sequence[int]) -> dict[str, list[Cell]]:
    """The cells of a table, which may differ only in recipe and seed; variants must share only the
    base and the length of answers.

    Raises:
        CheckFailed: a cell is missing or made from other inputs.
    """
    by_recipe: dict[str, list[Cell]] = {name: [] for name in names}
    keys = _BASE if any(quality_cell.VARIANT in name for name in names) else _BASE + _TRAINING
    common_values, missing = None, []
    for name in names:
        files = quality_cell.file_dependencies(output, name)
        for seed in seeds:
            cell = quality_cell.read(output, name, seed)
            if cell is None or not files.items() <= cell.depends.items():
                missing.append(f"{name} {seed}")
                continue
            values = {key: value for key, value in cell.depends.items() if key in keys}
            if common_values not in (None, values):
                raise CheckFailed(
                    f"{quality_cell.path(output, name, seed)} was made with another base or other "
                    "settings than the cells before it: make it again with --only"
                )
            common_values = values
            by_recipe[name].append(cell)
    if missing:
        raise CheckFailed(
            f"{len(missing)} cells are missing or of another dataset: {', '.join(missing)}; "
            "make them with --model, or name others with --recipes and --seeds"
        )
    return by_recipe


def _table(output: Path, held: Held, cells: dict[str, list[Cell]]) -> None:
    records = {name: quality_cell.held_records(output, name) for name in cells}
    results = quality_table.results(held, cells, records)
    tables = quality_table.tables(held, results)
    quality_table.show(tables)
    first = next(iter(cells.values()))[0]
    content = {
        "reference": held.reference,
        "incidents": len(held.incidents),
        "groups": len({incident.group for incident in held.incidents.values()}),
        "left_out": held.left_out,
        "setting": {key: first.depends[key] for key in (*_BASE, *_TRAINING)},
        "variants": {
            name: {key: value for key, value in group[0].depends.items() if key not in _FILES}
            for name, group in cells.items()
            if quality_cell.VARIANT in name
        },
        "hardware": sorted({cell.hardware for group in cells.values() for cell in group}),
        "intervals": {**intervals.METHODS, "shares": intervals.METHODS["means"], "of": "groups"},
        "results": results,
    }
    quality_table.write(output / "quality.json", jsonfile.text(msgspec.to_builtins(content)))
    shown_recipe = held.reference if held.reference in cells else next(iter(cells))
    notes = [
        f"{_description(held)}. All seeds are pooled; the 95% intervals are over groups. What was "
        "shown is what a recipe's own prompts show of the evidence; for `reference`, what "
        f"{shown_recipe} shows."
    ]
    quality_table.write(output / "quality.md", quality_table.markdown(tables, notes))
    quality_table.draw(results, output / "quality.svg")
    for group in cells.values():
        for cell in group:
            quality_answers.write(output, cell)
    print(f"wrote {', '.join(str(output / f'quality.{kind}') for kind in ('json', 'md', 'svg'))}")


def _description(held: Held) -> str:
    groups = len({incident.group for incident in held.incidents.values()})
    left_out = len({item.incident_id for item in held.left_out})
    return (
        f"{len(held.incidents):,} incidents in {groups:,} groups with the answers of "
        f"{held.reference}, {left_out:,} left out"
    )


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
