"""The whole way from source files to SFT JSONL; a rerun with nothing changed does nothing.

    python -m immune_data.emit --source data/source --data data --recipe unified-v2

In: the recipe's source files. Out: `tables/*.parquet`, `immune.duckdb` and
`sft/<recipe>/{train,eval}.jsonl` with `incidents.json` and `manifest.json`, all under the output
folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence

import msgspec

from immune_data import recipes
from immune_data.common import cli
from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.emit import executor, inputs
from immune_data.emit.build import FILES, Emitted, emit

__all__ = ["FILES", "Emitted", "emit", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "immune_data.emit",
        summary="Read the source files, run the pipeline and write the fine-tuning dataset.",
        example="python -m immune_data.emit --source data/source --data data --recipe unified-v2",
    )
    cli.add_folders(parser)
    recipes.add_option(parser)
    parser.add_argument(
        "--force",
        action="store_true",
        help="rebuild everything",
    )
    parser.add_argument(
        "--replace",
        action="store_true",
        help="overwrite what is in the way: relations of recipes that were made from other "
        "tables, another recipe's dataset of the same name, a database that cannot be read",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="only verify the emitted files against the manifest, and recipe, prompts, SQL and "
        "code against those that made them",
    )
    parser.add_argument("--threads", type=cli.threads, help="default: one per processor")
    parser.add_argument(
        "--executor",
        metavar="ADDRESS",
        help="scheduler of a Dask cluster that shares the work, as tls://HOST:PORT, or "
        "dask://HOST:PORT on this machine (default: processes of this machine)",
    )
    parser.add_argument(
        "--insecure",
        action="store_true",
        help="let an --executor be on another machine without encryption",
    )
    parser.add_argument("--json", action="store_true", help="print the manifest's counts as JSON")
    return cli.run(parser, _command, argv)


def _command(arguments: argparse.Namespace) -> None:
    recipe = recipes.load(arguments.recipe)
    if arguments.check:
        if arguments.force or arguments.replace:
            raise ImmuneError("--check changes nothing: leave --force and --replace out")
        if arguments.executor is not None or arguments.insecure:
            raise ImmuneError("--check has no work to share: leave --executor and --insecure out")
        folder = arguments.data / "sft" / recipe.name
        manifest = inputs.check(folder, recipe)
        emitted = Emitted(folder, manifest, current=True)
    else:
        if arguments.threads:
            os.environ["POLARS_MAX_THREADS"] = str(arguments.threads)
        with cli.progress() as report:
            workers = executor.workers(
                arguments.executor, insecure=arguments.insecure, report=report
            )
            emitted = emit(
                arguments.source,
                arguments.data,
                recipe,
                force=arguments.force,
                replace=arguments.replace,
                threads=arguments.threads,
                workers=workers,
                report=report,
            )
    from immune_data.emit import summary

    if arguments.json:
        content = {
            "folder": str(emitted.folder),
            "current": emitted.current,
            "synthetic": emitted.manifest.synthetic,
            **msgspec.to_builtins(emitted.manifest.counts),
        }
        print(json.dumps(content, indent=2))
    elif arguments.check:
        print(
            f"{emitted.folder}: every file is the one its manifest names, and recipe, prompts, "
            "SQL and code are those that made it"
        )
    else:
        summary.show(emitted.folder, emitted.manifest, current=emitted.current)
    reason = None if arguments.check else summary.missing(emitted.manifest)
    if reason:
        command = ["python", "-m", "immune_data.audit", "funnel"]
        command += ["--recipe", arguments.recipe, "--data", str(arguments.data)]
        raise CheckFailed(f"{reason}; `{shlex.join(command)}` shows the whole way")


if __name__ == "__main__":
    sys.exit(main())
