"""Compare ways to have incidents answered on this machine's processor, in interleaved pairs.

    python -m immune_train.bench_edge --model immune-q4_k_m.gguf --eval eval.jsonl --threads 4

In: a model, and the records of an emitted file whose evidence is condensed; beside it, for some
comparisons, the same incidents' records with lines of evidence. Out: of each way the tokens read
and written, the seconds of an incident's three tasks and what a decoding step takes beside the
least that reading the weights takes; of each comparison the ratio of the seconds with its interval.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict

from immune_data.common import cli, files, jsonfile, processes
from immune_data.common.errors import ImmuneError
from immune_train.bench_edge.sides import COMPARISONS, NAMES, PAIRS, Comparison, named, needs_lines


def parser() -> argparse.ArgumentParser:
    made = cli.parser(
        "immune_train.bench_edge",
        summary="Compare ways to have incidents answered on this machine's processor.",
        example="python -m immune_train.bench_edge --model immune-q4_k_m.gguf --eval eval.jsonl"
        " --compare grounded drafts",
    )
    made.add_argument("--model", type=cli.file, help="a GGUF file")
    made.add_argument("--eval", type=cli.file, help="emitted records with condensed evidence")
    made.add_argument(
        "--lines",
        type=cli.file,
        help="records of the same incidents with lines of evidence, to compare with",
    )
    made.add_argument(
        "--compare",
        choices=NAMES,
        nargs="+",
        help="what to compare: evidence (condensed or as lines), answers side by side, grounded,"
        " forced spans or drafts (on or off), or everything (evidence as lines, and all off);"
        " default: all but what needs --lines, where there are none",
    )
    made.add_argument(
        "--pairs",
        type=cli.positive,
        default=PAIRS,
        help=f"rounds in which each way answers one incident (default: {PAIRS})",
    )
    made.add_argument(
        "--skip",
        type=cli.seed,
        default=0,
        metavar="ROUNDS",
        help="rounds to leave out first, for runs that share the work (default: 0)",
    )
    made.add_argument(
        "--replay",
        action="store_true",
        help="write the answers of --eval, whatever the model would choose: for a model of random"
        " weights, and so that all ways write the same",
    )
    made.add_argument("--threads", type=cli.threads, help="default: one per processor")
    made.add_argument("--flash", action="store_true", help="use llama.cpp's flash attention")
    made.add_argument(
        "--results",
        type=cli.file,
        nargs="+",
        metavar="FILE",
        help="show what the --output of earlier runs holds together, instead of measuring",
    )
    made.add_argument("--json", action="store_true", help="print the summary as JSON")
    made.add_argument(
        "--output",
        type=cli.file,
        metavar="FILE",
        help="write each timing there, as lines of JSON; a run that was cut off goes on",
    )
    made.add_argument(
        "--figure", type=cli.file, metavar="FILE", help="draw the summary there, .svg or .png"
    )
    return made


def command(arguments: argparse.Namespace) -> None:
    if arguments.figure:
        from immune_train.bench_edge import figure

        figure.check(arguments.figure)
    for path in (arguments.output, arguments.figure):
        if path:
            files.target(path)  # said before anything is measured, not after
    comparisons: tuple[Comparison, ...] = ()
    if arguments.results:
        if arguments.model or arguments.eval or arguments.lines or arguments.output:
            raise ImmuneError(
                "--results shows what was measured: leave out --model, --eval, --lines and --output"
            )
    else:
        for name in ("model", "eval"):
            if getattr(arguments, name) is None:
                raise ImmuneError(f"--{name} is missing: see `{parser().prog} --help`")
        comparisons = _comparisons(arguments.compare, lines=arguments.lines is not None)

    from immune_train.bench_edge import measuring, results, summary, terminal

    if arguments.results:
        found = results.together(arguments.results)
    else:
        found = measuring.measured(
            *(arguments.model, arguments.eval, arguments.lines, comparisons),
            rounds=range(arguments.skip, arguments.skip + arguments.pairs),
            threads=arguments.threads or processes.processors(),
            flash=arguments.flash,
            replay=arguments.replay,
            output=arguments.output,
        )
    made = summary.summary(found)
    if arguments.json:
        print(jsonfile.text(asdict(made)), end="")
    else:
        terminal.show(made)
    said = sys.stderr if arguments.json else sys.stdout
    if arguments.figure:
        figure.write(made, arguments.figure)
        print(f"wrote {arguments.figure}", file=said)
    if arguments.output:
        print(f"wrote {arguments.output}", file=said)


def _comparisons(names: Sequence[str] | None, *, lines: bool) -> tuple[Comparison, ...]:
    """Those that are asked for, or all for which there are files."""
    if names is None:
        return tuple(one for one in COMPARISONS if lines or not needs_lines(one))
    comparisons = named(names)
    if not lines and (needing := [one.name for one in comparisons if needs_lines(one)]):
        raise ImmuneError(
            f"--compare {' '.join(needing)} needs --lines: records of the same incidents with"
            " lines of evidence"
        )
    return comparisons


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
