"""Measure answers without a judge: any number of models side by side, and the reference answers.

    python -m immune_train.score --reference data/sft/unified-clean/eval.jsonl \\
        q4_k_m=answers-q4_k_m.jsonl q8_0=answers-q8_0.jsonl --figure scores.svg

In: emitted records, and answers to them as `generate` writes them. Out: a table, and, where asked
for, JSON and a picture.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict

from immune_data.common import cli, files, jsonfile
from immune_data.common.errors import ImmuneError
from immune_data.common.text import are, counted
from immune_train.score import figure, intervals
from immune_train.score.answers import named, read_answers, read_reference
from immune_train.score.metrics import REFERENCE, score
from immune_train.score.table import show


def parser() -> argparse.ArgumentParser:
    made = cli.parser(
        "immune_train.score",
        summary="Measure answers without a judge, models and the reference side by side.",
        example="python -m immune_train.score --reference data/sft/unified-clean/eval.jsonl"
        " q4=answers.jsonl --figure scores.svg",
    )
    made.add_argument(
        "--reference", type=cli.file, required=True, help="the records that were asked"
    )
    made.add_argument(
        "answers", nargs="*", metavar="NAME=FILE", help="answers that `generate --eval` wrote"
    )
    made.add_argument("--json", action="store_true", help="print the scores as JSON")
    made.add_argument("--output", type=cli.file, metavar="FILE", help="write them there, as JSON")
    made.add_argument("--figure", type=cli.file, help="draw them there, as .svg or .png")
    return made


def command(arguments: argparse.Namespace) -> None:
    if arguments.figure and arguments.figure.suffix not in figure.SUFFIXES:
        raise ImmuneError(f"{arguments.figure} should end in {' or '.join(figure.SUFFIXES)}")
    for path in filter(None, (arguments.output, arguments.figure)):
        files.target(path)
    answers = named(arguments.answers)
    reference = read_reference(arguments.reference)
    cases = {name: [*read_answers(path, reference).values()] for name, path in answers.items()}
    for name, of_model in cases.items():
        if missing := len(reference) - len(of_model):
            print(
                f"warning: {name}: {missing} of {counted(len(reference), 'answer')} "
                f"{are(missing)} missing, and it is measured on those it has",
                file=sys.stderr,
            )
    cases = {REFERENCE: list(reference.values()), **cases}
    scores = score(cases)
    content = {
        "reference": arguments.reference.name,
        "models": list(answers),
        "intervals": intervals.METHODS,
        "scores": [asdict(one) for one in scores],
    }
    if arguments.json:
        print(jsonfile.text(content), end="")
    else:
        show(scores, list(cases))
    notes = sys.stderr if arguments.json else sys.stdout
    if arguments.output:
        with files.replacing(arguments.output) as beside:
            beside.write_text(jsonfile.text(content), encoding="utf-8")
        print(f"wrote {arguments.output}", file=notes)
    if arguments.figure:
        figure.save(figure.draw(scores, list(cases)), arguments.figure)
        print(f"wrote {arguments.figure}", file=notes)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
