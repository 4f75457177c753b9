"""Say whether a model is any good: answers to incidents that it has not seen, side by side.

    python -m immune_train.evaluate --reference data/sft/unified-clean/eval.jsonl \\
        --trained data/models/mine --verdicts verdicts.json --output data/models/mine/evaluation \\
        mine=answers.jsonl base=base-answers.jsonl

In: emitted records, the runs that must not have seen them, answers as `generate` writes them and,
where a judge has scored them, its verdicts. Out: `evaluation.json`, `evaluation.html`,
`results.csv`, `card_section.md`, `figures/`, and `baselines/`, the answers of the baselines, which
can be given to a judge like any others. Exit code 1 if the comparison would not be a fair one.
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
    made = cli.parser(
        "immune_train.evaluate",
        summary="Compare models on incidents that they have not seen, with the reference, "
        "baselines and intervals; refuse what is not a fair comparison.",
        example="python -m immune_train.evaluate --reference data/sft/unified-clean/eval.jsonl"
        " --trained data/models/mine --output data/models/mine/evaluation mine=answers.jsonl",
    )
    made.add_argument(
        "--reference", type=cli.file, metavar="FILE", help="the records that were asked"
    )
    made.add_argument(
        "--trained",
        type=cli.folder,
        nargs="+",
        metavar="RUN",
        help="folders of the runs whose models answer",
    )
    made.add_argument(
        "--verdicts",
        type=cli.file,
        nargs="+",
        default=[],
        metavar="FILE",
        help="a judge's verdicts on the answers, in the documented formats",
    )
    made.add_argument("--output", type=cli.folder, metavar="DIR", help="folder to write to")
    made.add_argument(
        "--train",
        type=cli.file,
        metavar="FILE",
        help="the records that were trained on (default: train.jsonl beside the reference)",
    )
    made.add_argument(
        "--data",
        type=cli.folder,
        metavar="DIR",
        help="folder of the artifacts, whose tables know the incidents' categories (default: that "
        "which the reference lies in)",
    )
    made.add_argument(
        "--costs", type=cli.file, metavar="FILE", help="costs of risk levels, as TOML"
    )
    made.add_argument(
        "--published",
        type=cli.file,
        metavar="FILE",
        help="say what is wrong with a results table that was published, and nothing else",
    )
    made.add_argument("--json", action="store_true", help="print the evaluation as JSON")
    made.add_argument(
        "answers", nargs="*", metavar="NAME=FILE", help="answers that `generate --eval` wrote"
    )
    return made


def command(arguments: argparse.Namespace) -> int | None:
    if arguments.published:
        return _look_at(arguments.published, as_json=arguments.json)
    for option in ("reference", "trained", "output"):
        if not getattr(arguments, option):
            raise ImmuneError(
                f"--{option} is missing; see `python -m immune_train.evaluate --help`"
            )
    from immune_train.evaluate import card, figures, outputs, page, phrases, results
    from immune_train.evaluate.evaluation import Files, content, evaluate
    from immune_train.score.answers import answer_files

    given = Files(
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
        found = evaluate(given)
        report("drawing figures")
        drawn = figures.drawn(found)
    numbers = jsonfile.text(content(found))
    texts = {
        outputs.NUMBERS: numbers,
        outputs.PAGE: page.render(found, drawn),
        outputs.RESULTS: results.text(found),
        outputs.CARD: card.section(found),
    }
    baselines = [one for one in found.candidates if one.kind == "baseline"]
    outputs.write(arguments.output, texts, drawn, baselines)
    if arguments.json:
        print(numbers, end="")
        return None
    for sentence in (*phrases.findings(found), *phrases.detectable(found)):
        print(one_line(sentence))
    print(f"wrote {arguments.output / outputs.PAGE}")
    return None


def _look_at(path: Path, *, as_json: bool) -> int:
    """Say what is wrong with published tables; 1 if anything is."""
    from immune_train.evaluate import published

    found = published.read(path)
    wrong = [published.faults(table) for table in found.tables]
    if as_json:
        named = {table.name: said for table, said in zip(found.tables, wrong, strict=True)}
        print(jsonfile.text({"source": found.source, "faults": named}), end="")
    else:
        published.show(found, wrong)
    return int(any(wrong))


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
