"""Write the pages that are generated, and the outputs that README and docs show.

    python docs/regenerate.py      (or: make docs)

In: the parsers of all commands, and the sample corpus, emitted with the recipes that the pages
show. Out: `docs/cli.md`, `docs/relations.md`, the figures, and in every page the output below the
commands of a `console` block. Blocks without output are left unchanged, and so are blocks with
other commands than those of `immune_data`, whose output depends on the machine.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from unittest import mock

from immune_data.common import cli

REPOSITORY = Path(__file__).parents[1]
RECIPES = ("unified-v2", "unified-clean")
FIGURES = ("funnel", "tokens")  # of the report, by the first recipe
PACKAGES = ("immune_data", "immune_train")

_BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
_OURS = re.compile(r"\$ python -m immune_data")
_COMMAND = re.compile(r"^\$ (?:.*\\\n)*.*\n", re.MULTILINE)

# Variables that would make outputs depend on the terminal.
_TERMINAL = ("COLUMNS", "LINES", "FORCE_COLOR")

_CLI = """\
# Commands

`immune-data VERB` and `python -m immune_data.VERB` are the same command, and so are
`immune-train VERB` and `python -m immune_train.VERB`. `make docs` writes this page from the
parsers; `--help` says the same.

Every command also takes `--help` and `--version`.

## What all commands have in common

| exit code | meaning |
|---:|---|
| 0 | done |
| 1 | a check failed |
| 2 | bad usage or bad input: one sentence says what, where and what to do |
| 129, 130, 143 | the terminal was closed, Ctrl-C, SIGTERM: temporary files are removed |

- A reader that closes the pipe (`| head`) ends a query. It never stops a command that writes
  files, and it never changes an exit code.
- `--json` and `--csv` print UTF-8 on every terminal. In other output, a character that is missing
  from the terminal's encoding is printed as an escape.
- Control characters and other invisible characters, which could move the cursor or disguise a text,
  are printed as escapes; the data in JSON stays the same. In CSV, a text that a spreadsheet would
  run as a formula gets a `'` in front; `--json` and `--parquet` change nothing.
- A command uses as many processes and threads as there are processors available to it; affinity
  (`taskset`, batch systems) and the limits of control groups (containers) are respected.
- Neither `/dev/shm` nor a temporary folder is required. File systems without locks work if no two
  runs write to one folder at the same time.
- A path is UTF-8 and may contain any character except `?` and `\\`, which DuckDB cannot open.
"""


# Pages


def pages() -> list[Path]:
    """README and the pages of `docs/`."""
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def relations_page(data: Path) -> str:
    """The text of `docs/relations.md`, from an artifact folder with a recipe."""
    from immune_data.publish import relations
    from immune_data.select import database

    with database.reading(data, RECIPES[-1]) as connection:
        return relations.page(connection, RECIPES[-1])


def cli_page() -> str:
    """The text of `docs/cli.md`."""
    parts = [_CLI]
    for package in PACKAGES:
        verbs: dict[str, str] = import_module(f"{package}.__main__").VERBS
        commands = [f"| [`{verb}`](#{package}{verb}) | {what} |" for verb, what in verbs.items()]
        parts += [f"## {package}\n", "| command | what it does |\n|---|---|", *commands, ""]
        for verb in verbs:
            parts += [f"### {package}.{verb}\n", *_command(_parser(f"{package}.{verb}"))]
    return "\n".join(parts)


def _parser(module: str) -> argparse.ArgumentParser:
    with mock.patch.object(cli, "run") as run:
        cli.module(module).main([])
    [call] = run.call_args_list
    return call.args[0]


def _command(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"{(parser.description or '').strip()}\n"
    examples = dedent((parser.epilog or "").partition("\n")[2])
    yield "```console"
    continued = False
    for line in examples.strip().splitlines():
        yield line if continued else f"$ {line}"
        continued = line.endswith("\\")
    yield "```\n"
    yield "| argument | what it says |\n|---|---|"
    for action in parser._actions:
        hidden = action.help == argparse.SUPPRESS or action.dest in ("help", "version")
        if not hidden:
            yield f"| {_usage(action)} | {_escaped(_help(action))} |"
    yield ""


def _usage(action: argparse.Action) -> str:
    value = str(action.metavar or action.dest.upper())
    if action.choices is not None:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    several = {"*": f"[{value} …]", "+": f"{value} …", "?": f"[{value}]"}
    value = "" if action.nargs == 0 else several.get(str(action.nargs), value)
    names = action.option_strings or [""]
    return ", ".join(f"`{_escaped(f'{name} {value}'.strip())}`" for name in names)


def _help(action: argparse.Action) -> str:
    text = " ".join((action.help or "").replace("%%", "%").split())
    return f"{text} (required)" if action.required and action.option_strings else text


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


# Outputs


def with_outputs(text: str, folder: Path) -> str:
    """The page with the current output of its commands in `folder`."""

    def block(match: re.Match[str]) -> str:
        body = match[1]
        commands = _COMMAND.findall(body)
        if "".join(commands) == body or not all(map(_OURS.match, commands)):
            return match[0]
        return f"```console\n{''.join(map(shown, commands))}```"

    def shown(command: str) -> str:
        printed = output(command.removeprefix("$ "), folder)
        return command + "".join(f"{line.rstrip()}\n" for line in printed.splitlines())

    return _BLOCK.sub(block, text)


def output(command: str, folder: Path) -> str:
    """The output of a shell command in `folder`, with the current Python."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    inherited = {name: value for name, value in os.environ.items() if name not in _TERMINAL}
    process = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**inherited, "PATH": path, "PYTHONPATH": str(REPOSITORY), "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if process.returncode not in (0, 1):
        raise SystemExit(
            f"{command.strip()} ended with {process.returncode}: {process.stderr.strip()}"
        )
    return process.stdout.replace(f"{REPOSITORY}{os.sep}", "")


def figures(folder: Path) -> dict[str, str]:
    """The figures of the report that the pages show, by name."""
    drawn = folder / "data" / "report" / RECIPES[0] / "figures"
    return {name: (drawn / f"{name}.svg").read_text(encoding="utf-8") for name in FIGURES}


def prepare(folder: Path) -> None:
    """Make in `folder` what `make emit` makes: `data`, with the sample emitted; and a report."""
    commands = ["python -m immune_data.sample --output data/source"]
    commands += [f"python -m immune_data.emit --recipe {recipe}" for recipe in RECIPES]
    commands += [f"python -m immune_data.report --recipe {RECIPES[0]}"]
    for command in commands:
        output(command, folder)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="immune-docs-") as name:
        folder = Path(name)
        prepare(folder)
        docs = REPOSITORY / "docs"
        (docs / "cli.md").write_text(cli_page(), encoding="utf-8")
        (docs / "relations.md").write_text(relations_page(folder / "data"), encoding="utf-8")
        for figure, svg in figures(folder).items():
            (docs / f"{figure}.svg").write_text(svg, encoding="utf-8")
        for page in pages():
            text = page.read_text(encoding="utf-8")
            page.write_text(with_outputs(text, folder), encoding="utf-8")


if __name__ == "__main__":
    main()
