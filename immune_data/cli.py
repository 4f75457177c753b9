"""What every command shares: argument parsing, errors as sentences, exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from immune_data.errors import ImmuneError

Command = Callable[[argparse.Namespace], int | None]


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaint is one sentence, without the usage block.

    Arguments of which there may be many stand on both sides of an option.
    """

    def parse_args(self, args=None, namespace=None):
        positional = self._get_positional_actions()
        if any(action.nargs in ("*", "+") for action in positional):
            return self.parse_intermixed_args(args, namespace)
        return super().parse_args(args, namespace)

    def error(self, message: str) -> None:
        raise ImmuneError(f"{message}; see `python -m {self.prog} --help`")


def parser(module: str, *, summary: str, example: str) -> Parser:
    """A parser for `python -m MODULE`, with an example under its help."""
    return Parser(
        prog=module,
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def add_folders(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--source",
        type=Path,
        default=Path("data/source"),
        help="folder of the source files (default: data/source)",
    )
    add_out(parser)


def add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("data"),
        help="folder of the artifacts (default: data)",
    )


def run(parser: argparse.ArgumentParser, command: Command, argv: Sequence[str] | None) -> int:
    """Parse `argv`, run `command` and turn its outcome into an exit code.

    0 done, 1 a check failed, 2 bad usage or bad input, 130 interrupted.
    """
    try:
        return command(parser.parse_args(argv)) or 0
    except ImmuneError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted: no file is half-written; run again", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our standard output went away (`| head`): not our failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def add_recipe(parser: argparse.ArgumentParser) -> None:
    from immune_data.recipes import DEFAULT

    parser.add_argument(
        "--recipe",
        default=DEFAULT,
        help=f"a shipped recipe or the path of a .toml file (default: {DEFAULT})",
    )


def positive(text: str) -> int:
    """An argument that is a whole number above zero."""
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above zero")
    return int(text)


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Something to report steps to: one moving line on a terminal, plain lines elsewhere."""
    if not sys.stderr.isatty():
        yield lambda line: print(line, file=sys.stderr)
        return
    from rich.console import Console

    with Console(stderr=True).status("starting") as status:
        yield lambda line: status.update(line)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under a title; numbers to the right with thousands set off, None left blank."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for i, column in enumerate(columns):
        numeric = any(isinstance(row[i], int | float) for row in rows)
        shown.add_column(column, justify="right" if numeric else "left")
    for row in rows:
        shown.add_row(*map(_cell, row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 120
    with console.capture() as capture:  # printed by us: rich ends the process on a broken pipe
        console.print(shown)
    print(capture.get(), end="")


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int | float) else str(value)
