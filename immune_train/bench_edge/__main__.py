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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data.common import cli, files, jsonfile, processes, resumed
from immune_data.common.digests import sha256
from immune_data.common.errors import ImmuneError
from immune_train.bench_edge.sides import COMPARISONS, NAMES, PAIRS, Comparison, named, needs_lines

if TYPE_CHECKING:
    from immune_train.bench_edge.results import Results, Run


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
    results = _read(arguments) if arguments.results else _measured(arguments)

    from immune_train.bench_edge import summary, terminal

    made = summary.summary(results)
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


def _read(arguments: argparse.Namespace) -> Results:
    if arguments.model or arguments.eval or arguments.lines or arguments.output:
        raise ImmuneError(
            "--results shows what was measured: leave out --model, --eval, --lines and --output"
        )
    from immune_train.bench_edge import results

    return results.together(arguments.results)


def _measured(arguments: argparse.Namespace) -> Results:
    for name in ("model", "eval"):
        if getattr(arguments, name) is None:
            raise ImmuneError(f"--{name} is missing: see `{parser().prog} --help`")
    comparisons = _comparisons(arguments)

    from immune_train.bench_edge import incidents, measuring, results, weights

    if not arguments.model.is_file():
        raise ImmuneError(f"there is no model {arguments.model}")
    threads = arguments.threads or processes.processors()
    asked = incidents.read(arguments.eval, arguments.lines)
    run = results.Run(
        model=arguments.model.name,
        model_sha256=sha256(arguments.model),
        model_bytes=arguments.model.stat().st_size,
        weight_bytes=weights.read_per_token(arguments.model),
        condensed_sha256=sha256(arguments.eval),
        lines_sha256=sha256(arguments.lines) if arguments.lines else None,
        processor=measuring.processor(),
        threads=threads,
        flash=arguments.flash,
        replay=arguments.replay,
        version=cli.version(),
    )

    made = []
    with cli.progress() as report, _kept(arguments.output, run) as (done, keep):
        made += [results.timing(row) for row in done]
        for timing in measuring.timings(
            *(arguments.model, asked, comparisons),
            rounds=range(arguments.skip, arguments.skip + arguments.pairs),
            threads=threads,
            flash=arguments.flash,
            replay=arguments.replay,
            done={(one.round, one.side) for one in made},
            say=report,
        ):
            keep(results.line(timing))
            made.append(timing)
    return results.Results(run, tuple(made))


@contextmanager
def _kept(
    output: Path | None, run: Run
) -> Iterator[tuple[list[dict[str, Any]], Callable[[bytes], object]]]:
    """The rows that are there already, and what keeps another one; none without an output."""
    if output is None:
        yield [], lambda _: None
        return
    with resumed.rows(output, asdict(run), with_run=True) as (done, file):

        def keep(line: bytes) -> None:
            file.write(line)
            file.flush()

        yield done, keep


def _comparisons(arguments: argparse.Namespace) -> tuple[Comparison, ...]:
    """Those that are asked for, or all for which there are files."""
    if arguments.compare is None:
        return tuple(one for one in COMPARISONS if arguments.lines or not needs_lines(one))
    comparisons = named(arguments.compare)
    if not arguments.lines and (names := [one.name for one in comparisons if needs_lines(one)]):
        raise ImmuneError(
            f"--compare {' '.join(names)} needs --lines: records of the same incidents with lines"
            " of evidence"
        )
    return comparisons


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
