"""Export a merged model: GGUF files, an Ollama `Modelfile` and the cost of quantising.

    python -m immune_train.export --model data/models/unified-clean --eval data/sft/…/eval.jsonl

In: a merged 16-bit model, or the run that trained it. Out, in `gguf/` next to the model:
`NAME-<quant>.gguf`, `Modelfile`, and `export.json`, which records what the files were made from and
is written last. The same model gives the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from immune_data.common import cli, jsonfile
from immune_train.export.build import CONTEXT, CONVERSATIONS, Options, export
from immune_train.export.quantise import DEFAULT, NAMES
from immune_train.export.summary import show


def parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "immune_train.export",
        summary="Turn a merged 16-bit model into GGUF files and an Ollama Modelfile, and measure "
        "the cost of quantising.",
        example="python -m immune_train.export --model data/models/unified-clean "
        "--eval data/sft/unified-clean/eval.jsonl",
    )
    parser.add_argument(
        "--model",
        type=cli.folder,
        required=True,
        metavar="DIR",
        help="folder of a merged model, or of a run with one",
    )
    parser.add_argument(
        "--quant",
        nargs="+",
        choices=NAMES,
        default=DEFAULT,
        metavar="Q",
        help=f"types to write, from {', '.join(NAMES)}; the Modelfile uses the first one "
        f"(default: {' '.join(DEFAULT)})",
    )
    parser.add_argument("--f16", action="store_true", help="keep the 16-bit file as well")
    parser.add_argument(
        "--imatrix",
        type=cli.file,
        metavar="FILE",
        help="importance matrix that llama-imatrix wrote",
    )
    parser.add_argument(
        "--eval",
        type=cli.file,
        metavar="JSONL",
        help="eval conversations on which every file is measured",
    )
    parser.add_argument(
        "--eval-conversations",
        type=cli.positive,
        default=CONVERSATIONS,
        metavar="N",
        help=f"how many of them, equally many of each task (default: {CONVERSATIONS})",
    )
    parser.add_argument(
        "--output",
        type=cli.folder,
        metavar="DIR",
        help="folder to write (default: gguf, next to DIR)",
    )
    parser.add_argument(
        "--name",
        help="start of the files' names (default: the name of the run's or model's folder)",
    )
    parser.add_argument(
        "--context",
        type=cli.positive,
        metavar="N",
        help=f"context in the Modelfile (default: as trained, or {CONTEXT})",
    )
    parser.add_argument(
        "--threads", type=cli.threads, metavar="N", help="threads to use (default: all)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print export.json instead of the table"
    )
    return parser


def command(arguments: argparse.Namespace) -> None:
    options = Options(
        quants=arguments.quant,
        f16=arguments.f16,
        imatrix=arguments.imatrix,
        eval=arguments.eval,
        conversations=arguments.eval_conversations,
        context=arguments.context,
        name=arguments.name,
        threads=arguments.threads,
    )
    with cli.progress() as report:
        output, content = export(arguments.model, arguments.output, options, report)
    if arguments.json:
        print(jsonfile.text(content), end="")
    else:
        show(output, content)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
