"""Ask a GGUF model about incidents, on this machine's CPU.

    python -m immune_train.generate --model immune-q4_k_m.gguf --task all --incident incident.json

In: a model and one incident (a JSON object as in the source files, or only a DAG's text), or the
records of an emitted `eval.jsonl`. Out: the answers, as text, as JSON with their fields, or, for a
whole file, as JSON lines with timings. Prompts are those of the recipe's training records.
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
    parser = cli.parser(
        "immune_train.generate",
        summary="Ask a GGUF model for an incident's summary, causes or risk.",
        example="python -m immune_train.generate --model immune-q4_k_m.gguf --task all"
        " --incident incident.json",
    )
    parser.add_argument(
        "--model", type=cli.file, help="a GGUF file that `immune_train.export` wrote"
    )
    parser.add_argument(
        "--task",
        choices=(*TASKS, "all"),
        help="what to ask for (default: all with --eval)",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--incident", help="an incident: a file with one JSON object, or the object itself"
    )
    source.add_argument(
        "--dag", type=cli.file, help="a file with a DAG's text; its header gives the facts"
    )
    source.add_argument("--eval", type=cli.file, help="emitted records to answer")
    source.add_argument(
        "stdin", nargs="?", choices=(STDIN,), help="read an incident or a DAG's text from stdin"
    )
    parser.add_argument(
        "--recipe",
        help="the recipe that the model was trained on (default: the one named in its file, or"
        " unified-clean)",
    )
    parser.add_argument(
        "--request",
        action="store_true",
        help="print the request for a chat server that runs the model, instead of running it",
    )
    parser.add_argument("--stream", action="store_true", help="print text as it is generated")
    parser.add_argument(
        "--json", action="store_true", help="print answers with their parsed fields"
    )
    parser.add_argument(
        "--grammar",
        action=argparse.BooleanOptionalAction,
        help="only allow the documented structure (default: for risk, and for summary with models"
        " whose recipe requires grounded answers)",
    )
    parser.add_argument(
        "--grounded",
        action=argparse.BooleanOptionalAction,
        help="only allow addresses, ports, domains … that the prompt shows (default: for models"
        " whose recipe requires grounded answers)",
    )
    parser.add_argument(
        "--drafts",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="check several tokens in one step where the answer may copy its prompt (default: off;"
        " see docs/edge.md for when that is faster)",
    )
    parser.add_argument(
        "--side-by-side",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="with --task all, generate answers that share their evidence in parallel (default: on;"
        " bench_edge shows what is faster on this machine)",
    )
    parser.add_argument("--threads", type=cli.threads, help="default: one per processor")
    parser.add_argument(
        "--context", type=cli.positive, help="tokens (default: what the model was trained with)"
    )
    parser.add_argument(
        "--max-tokens",
        type=cli.positive,
        help="the most tokens of an answer (default: the longest that the recipe allows)",
    )
    parser.add_argument(
        "--temperature", type=cli.temperature, default=0.0, help="default: 0, greedy"
    )
    parser.add_argument(
        "--seed", type=cli.seed, default=0, help="seed for a temperature above 0 (default: 0)"
    )
    parser.add_argument("--output", type=cli.file, help="file to write instead of standard output")
    return parser


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
        raise ImmuneError(
            "--stream prints text as it is generated: leave out --json, --eval and --output"
        )
    if task is None and not arguments.eval:
        raise ImmuneError(f"--task is missing: give one of {', '.join((*TASKS, 'all'))}")
    if output:
        files.target(output)  # fail before answers are generated, not after

    from immune_train.generate import asker as askers
    from immune_train.generate import incident, records, request
    from immune_train.generate.answers import Settings, grammars

    # A request can be for a model on another machine; then this is its name there.
    local_model = None if arguments.request and not (model and model.is_file()) else model
    asker = askers.asker(local_model, arguments.recipe, arguments.context)
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
        subject = incident.read(arguments.incident, arguments.dag)
        if arguments.request:
            name = model.stem if model else None
            request.show(subject, task, asker, settings, model=name, output=output)
            return
        incident.ask(
            *(subject, TASKS if task == "all" else (task,), model, asker, settings),
            threads=arguments.threads,
            side_by_side=arguments.side_by_side,
            form="stream" if arguments.stream else "json" if arguments.json else "text",
            output=output,
        )


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
