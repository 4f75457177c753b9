"""Ask a GGUF model about incidents, on this machine's processor.

    python -m immune_train.generate --model immune-q4_k_m.gguf --task all --incident incident.json

In: a model and one incident (a JSON object as in the source files, or a DAG's text alone), or the
records of an emitted `eval.jsonl`. Out: the answers, as text, as JSON with their fields, or, for a
whole file, as JSON lines with timings. Prompts are those of the training records, by recipe.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext

from immune_data.common import cli, files, streams
from immune_data.common.errors import ImmuneError
from immune_data.prompts import TASKS

STDIN = "-"


def parser() -> argparse.ArgumentParser:
    made = cli.parser(
        "immune_train.generate",
        summary="Ask a GGUF model for an incident's summary, causes or risk.",
        example="python -m immune_train.generate --model immune-q4_k_m.gguf --task all"
        " --incident incident.json",
    )
    made.add_argument("--model", type=cli.file, help="a GGUF file of ours")
    made.add_argument(
        "--task",
        choices=(*TASKS, "all"),
        help="what to ask for (default: all with --eval)",
    )
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--incident", help="an incident: a file of one JSON object, or the object itself"
    )
    what.add_argument(
        "--dag", type=cli.file, help="a file of a DAG's text; its header gives the facts"
    )
    what.add_argument("--eval", type=cli.file, help="emitted records, each to be answered again")
    what.add_argument(
        "stdin", nargs="?", choices=(STDIN,), help="read an incident or a DAG's text from stdin"
    )
    made.add_argument(
        "--recipe",
        help="the recipe that the model was trained on (default: the one that its file names, or"
        " unified-clean)",
    )
    made.add_argument(
        "--request",
        action="store_true",
        help="print what to send to a chat server that runs the model, instead of running it",
    )
    made.add_argument("--stream", action="store_true", help="print text as it comes")
    made.add_argument("--json", action="store_true", help="print answers with their parsed fields")
    made.add_argument(
        "--grammar",
        action=argparse.BooleanOptionalAction,
        help="only let the documented structure through (default: for risk, and for summary with"
        " models whose recipe demands grounded answers; else offered)",
    )
    made.add_argument(
        "--grounded",
        action=argparse.BooleanOptionalAction,
        help="let no address, port, domain … through that the prompt does not show (default: for"
        " models whose recipe demands it of the answers that are learned from)",
    )
    made.add_argument(
        "--drafts",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="try in one step what follows if the answer copies its prompt (default: not; see"
        " docs/edge.md for where that is faster)",
    )
    made.add_argument(
        "--side-by-side",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="with --task all, write answers that share their evidence a token of each at a time"
        " (default; see bench_edge for what is faster here)",
    )
    made.add_argument("--threads", type=cli.threads, help="default: one per processor")
    made.add_argument(
        "--context", type=cli.positive, help="tokens (default: what the model was trained with)"
    )
    made.add_argument(
        "--max-tokens",
        type=cli.positive,
        help="of an answer (default: those of the longest that the recipe allows)",
    )
    made.add_argument("--temperature", type=cli.temperature, default=0.0, help="default: 0, greedy")
    made.add_argument(
        "--seed", type=cli.seed, default=0, help="of a temperature above 0 (default: 0)"
    )
    made.add_argument("--output", type=cli.file, help="write there instead of to standard output")
    return made


def command(arguments: argparse.Namespace) -> None:
    model, task, output = arguments.model, arguments.task, arguments.output
    if arguments.request:
        if arguments.eval or arguments.stream or task not in TASKS:
            raise ImmuneError(
                "--request prints one request: give one --task and one incident, and leave out"
                " --eval and --stream"
            )
    elif model is None:
        raise ImmuneError("--model is missing: give a GGUF file that `immune_train.export` wrote")
    if arguments.stream and (arguments.json or arguments.eval or output):
        raise ImmuneError("--stream prints text as it comes: leave out --json, --eval and --output")
    if task is None and not arguments.eval:
        raise ImmuneError(f"--task is missing: give one of {', '.join((*TASKS, 'all'))}")
    if output:
        files.target(output)  # said before answers are written, not after

    from immune_train.generate import asker as askers
    from immune_train.generate import incident, records, request
    from immune_train.generate.answers import Settings, grammars

    # A request can be made for a model that is elsewhere: then this is the name it has there.
    here = None if arguments.request and not (model and model.is_file()) else model
    asker = askers.asker(here, arguments.recipe, arguments.context)
    settings = Settings(
        grammars(arguments.grammar, grounded=asker.grounded),
        *(arguments.max_tokens, arguments.temperature, arguments.seed),
        grounded=asker.grounded if arguments.grounded is None else arguments.grounded,
        drafts=arguments.drafts,
    )
    if arguments.request or arguments.eval:
        streams.use_utf8()
    with nullcontext() if output else streams.for_reader():
        if arguments.eval:
            records.ask(
                *(arguments.eval, task or "all", model, asker, settings),
                threads=arguments.threads,
                context=arguments.context,
                output=output,
            )
            return
        found = incident.read(arguments.incident, arguments.dag)
        if arguments.request:
            name = model.stem if model else None
            request.show(found, task, asker, settings, model=name, output=output)
            return
        incident.ask(
            *(found, TASKS if task == "all" else (task,), model, asker, settings),
            threads=arguments.threads,
            beside=arguments.side_by_side,
            form="stream" if arguments.stream else "json" if arguments.json else "text",
            output=output,
        )


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
