"""Measure answers without a judge: any number of models, compared with the reference answers.

    python -m immune_train.score --reference data/sft/unified-clean/eval.jsonl \\
        q4_k_m=answers-q4_k_m.jsonl q8_0=answers-q8_0.jsonl --figure scores.svg

In: emitted records, and answers to them as `generate` writes them. Out: a table, and
optionally JSON and a figure.
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
from immune_train.score.answers import answer_files, read_answers, read_reference
from immune_train.score.metrics import REFERENCE, score
from immune_train.score.table import show


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "immune_train.score",
        summary="Measure answers without a judge, and compare models with the reference.",
        example="python -m immune_train.score --reference data/sft/unified-clean/eval.jsonl"
        " q4=answers.jsonl --figure scores.svg",
    )
    parser.add_argument(
        "--reference", type=cli.file, required=True, help="the records that were asked"
    )
    parser.add_argument(
        "answers", nargs="*", metavar="NAME=FILE", help="answers that `generate --eval` wrote"
    )
    parser.add_argument("--json", action="store_true", help="print the scores as JSON")
    parser.add_argument(
        "--output", type=cli.file, metavar="FILE", help="write the scores to a JSON file"
    )
    parser.add_argument("--figure", type=cli.file, help="draw the scores to an .svg or .png file")
    return parser


def command(arguments: argparse.Namespace) -> None:
    if arguments.figure and arguments.figure.suffix not in figure.SUFFIXES:
        raise ImmuneError(f"{arguments.figure} should end in {' or '.join(figure.SUFFIXES)}")
    for path in filter(None, (arguments.output, arguments.figure)):
        files.target(path)
    answers = answer_files(arguments.answers)
    reference = read_reference(arguments.reference)
    cases = {name: [*read_answers(path, reference).values()] for name, path in answers.items()}
    for name, model_cases in cases.items():
        if missing := len(reference) - len(model_cases):
            print(
                f"warning: {name}: {missing} of {counted(len(reference), 'answer')} "
                f"{are(missing)} missing: only the others are measured",
                file=sys.stderr,
            )
    cases = {REFERENCE: list(reference.values()), **cases}
    scores = score(cases)
    content = {
        "reference": arguments.reference.name,
        "models": list(answers),
        "intervals": intervals.METHODS,
        "scores": [asdict(item) for item in scores],
    }
    if arguments.json:
        print(jsonfile.text(content), end="")
    else:
        show(scores, list(cases))
    notes = sys.stderr if arguments.json else sys.stdout
    if arguments.output:
        with files.replacing(arguments.output) as temporary:
            temporary.write_text(jsonfile.text(content), encoding="utf-8")
        print(f"wrote {arguments.output}", file=notes)
    if arguments.figure:
        figure.save(figure.draw(scores, list(cases)), arguments.figure)
        print(f"wrote {arguments.figure}", file=notes)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
