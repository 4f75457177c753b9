"""Take a merged model to the edge: GGUF files, an Ollama `Modelfile` and what quantising costs.

    python -m immune_train.export --model data/models/unified-clean --eval data/sft/…/eval.jsonl

In: a merged 16-bit model, or the run that trained it. Out, in `gguf/` beside the model:
`NAME-<quant>.gguf`, `Modelfile`, and `export.json`, which says what was made of what and is
written last. The same model gives the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from immune_data.common import cli, jsonfile
from immune_train.export.build import CONTEXT, CONVERSATIONS, Wanted, export
from immune_train.export.quantise import DEFAULT, NAMES
from immune_train.export.summary import show


def parser() -> argparse.ArgumentParser:
    made = cli.parser(
        "immune_train.export",
        summary="Turn a merged 16-bit model into GGUF files and an Ollama Modelfile, and measure "
        "what quantising costs.",
        example="python -m immune_train.export --model data/models/unified-clean "
        "--eval data/sft/unified-clean/eval.jsonl",
    )
    made.add_argument(
        "--model",
        type=cli.folder,
        required=True,
        metavar="DIR",
        help="folder of a merged model, or of the run that holds one",
    )
    made.add_argument(
        "--quant",
        nargs="+",
        choices=NAMES,
        default=DEFAULT,
        metavar="Q",
        help=f"types to write, of {', '.join(NAMES)}; the first one is the "
        f"Modelfile's (default: {' '.join(DEFAULT)})",
    )
    made.add_argument("--f16", action="store_true", help="keep the 16-bit file as well")
    made.add_argument(
        "--imatrix",
        type=cli.file,
        metavar="FILE",
        help="importance matrix that llama-imatrix wrote",
    )
    made.add_argument(
        "--eval", type=cli.file, metavar="JSONL", help="eval conversations to measure every file on"
    )
    made.add_argument(
        "--eval-conversations",
        type=cli.positive,
        default=CONVERSATIONS,
        metavar="N",
        help=f"how many of them, of each task as many (default: {CONVERSATIONS})",
    )
    made.add_argument(
        "--output",
        type=cli.folder,
        metavar="DIR",
        help="folder to write (default: gguf, beside DIR)",
    )
    made.add_argument(
        "--name",
        help="start of the files' names (default: the folder's of the run or model)",
    )
    made.add_argument(
        "--context",
        type=cli.positive,
        metavar="N",
        help=f"context in the Modelfile (default: as trained, or {CONTEXT})",
    )
    made.add_argument(
        "--threads", type=cli.threads, metavar="N", help="threads to use (default: all)"
    )
    made.add_argument("--json", action="store_true", help="print export.json instead of the table")
    return made


def command(arguments: argparse.Namespace) -> None:
    wanted = Wanted(
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
        output, content = export(arguments.model, arguments.output, wanted, report)
    if arguments.json:
        print(jsonfile.text(content), end="")
    else:
        show(output, content)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


if __name__ == "__main__":
    sys.exit(main())
