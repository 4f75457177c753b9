"""Evaluate models: compare their answers to incidents that they have not seen.

    python -m immune_train.evaluate --reference data/sft/unified-clean/eval.jsonl \\
        --trained data/models/mine --verdicts verdicts.json --output data/models/mine/evaluation \\
        mine=answers.jsonl base=base-answers.jsonl

In: emitted records, the runs that must not have seen them, answers as `generate` writes them and,
if a judge has scored them, its verdicts. Out: `evaluation.json`, `evaluation.html`, `results.csv`,
`card_section.md`, `figures/`, and `baselines/`, the answers of the baselines, which can be judged
like any others. The exit code is 1 if the comparison would be unfair.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from immune_data.common import cli, jsonfile
from immune_data.common.errors import ImmuneError
from immune_data.common.text import one_line


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "immune_train.evaluate",
        summary="Compare models on incidents that they have not seen, with the reference, "
        "baselines and intervals; refuse unfair comparisons.",
        example="python -m immune_train.evaluate --reference data/sft/unified-clean/eval.jsonl"
        " --trained data/models/mine --output data/models/mine/evaluation mine=answers.jsonl",
    )
    parser.add_argument(
        "--reference", type=cli.file, metavar="FILE", help="the records that were asked"
    )
    parser.add_argument(
        "--trained",
        type=cli.folder,
        nargs="+",
        metavar="RUN",
        help="folders of the runs whose models are evaluated",
    )
    parser.add_argument(
        "--verdicts",
        type=cli.file,
        nargs="+",
        default=[],
        metavar="FILE",
        help="a judge's verdicts on the answers, in the documented formats",
    )
    parser.add_argument("--output", type=cli.folder, metavar="DIR", help="folder to write to")
    parser.add_argument(
        "--train",
        type=cli.file,
        metavar="FILE",
        help="the records that were trained on (default: train.jsonl next to the reference)",
    )
    parser.add_argument(
        "--data",
        type=cli.folder,
        metavar="DIR",
        help="the artifact folder, whose tables contain the incidents' categories (default: that "
        "of the reference)",
    )
    parser.add_argument(
        "--costs", type=cli.file, metavar="FILE", help="costs of risk levels, as TOML"
    )
    parser.add_argument(
        "--published",
        type=cli.file,
        metavar="FILE",
        help="only say what is wrong with published tables of results",
    )
    parser.add_argument("--json", action="store_true", help="print the evaluation as JSON")
    parser.add_argument(
        "answers", nargs="*", metavar="NAME=FILE", help="answers that `generate --eval` wrote"
    )
    return parser


def command(arguments: argparse.Namespace) -> int | None:
    if arguments.published:
        return _report_published(arguments.published, as_json=arguments.json)
    for option in ("reference", "trained", "output"):
        if not getattr(arguments, option):
            raise ImmuneError(
                f"--{option} is missing; see `python -m immune_train.evaluate --help`"
            )
    from immune_train.evaluate import card, figures, outputs, page, phrases, results
    from immune_train.evaluate.evaluation import Files, content, evaluate
    from immune_train.score.answers import answer_files

    paths = Files(
        arguments.reference,
        tuple(arguments.trained),
        answer_files(arguments.answers),
        tuple(arguments.verdicts),
        arguments.train,
        arguments.data,
        arguments.costs,
    )
    with cli.progress() as report:
        report("comparing")
        evaluation = evaluate(paths)
        report("drawing figures")
        drawings = figures.drawings(evaluation)
    numbers = jsonfile.text(content(evaluation))
    texts = {
        outputs.NUMBERS: numbers,
        outputs.PAGE: page.render(evaluation, drawings),
        outputs.RESULTS: results.text(evaluation),
        outputs.CARD: card.section(evaluation),
    }
    baselines = [candidate for candidate in evaluation.candidates if candidate.kind == "baseline"]
    outputs.write(arguments.output, texts, drawings, baselines)
    if arguments.json:
        print(numbers, end="")
        return None
    for sentence in (*phrases.findings(evaluation), *phrases.detectable(evaluation)):
        print(one_line(sentence))
    print(f"wrote {arguments.output / outputs.PAGE}")
    return None


def _report_published(path: Path, *, as_json: bool) -> int:
    """Print what is wrong with published tables; the exit code is 1 if anything is."""
    from immune_train.evaluate import published

    publication = published.read(path)
    faults = [published.faults(table) for table in publication.tables]
    if as_json:
        by_name = {
            table.name: sentences
            for table, sentences in zip(publication.tables, faults, strict=True)
        }
        print(jsonfile.text({"source": publication.source, "faults": by_name}), end="")
    else:
        published.show(publication, faults)
    return int(any(faults))


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
