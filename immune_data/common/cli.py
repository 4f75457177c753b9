"""What every command shares: argument parsing, errors as sentences, exit codes."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import immune_data
from immune_data.common import signals, streams
from immune_data.common.errors import ImmuneError
from immune_data.common.text import one_line

_WIDTH = 100  # of a help text, on any terminal
_DIGITS = 18
_THREADS = 512

Command = Callable[[argparse.Namespace], int | None]


class _Renamed(argparse.Action):
    """An option under its former name; `const` is its name now."""

    def __init__(self, option_strings: Sequence[str], dest: str, **settings: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs="?", **settings)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        parser.error(f"{option_string} is called {self.const} now")


class Parser(argparse.ArgumentParser):
    """An argument parser whose error is one sentence, without the usage block.

    Repeatable arguments may stand before and after an option, and a `Path` is read by `path`.
    An option that was renamed says what it is called now.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.register("type", Path, path)
        self.add_argument(
            "--version", action="version", version=version(), help="say which version this is"
        )

    def renamed(self, **options: str) -> None:
        """Options that were renamed: the former name and the option to use instead."""
        for option, name in options.items():
            self.add_argument(f"--{option}", action=_Renamed, const=name, help=argparse.SUPPRESS)

    # `Namespace` in, `Namespace` out: the library's overloads for other classes are not ours.
    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        positional = self._get_positional_actions()
        if any(action.nargs in ("*", "+") for action in positional):
            return self.parse_intermixed_args(args, namespace)
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        raise ImmuneError(f"{message}; see `{self.prog} --help`")


def version() -> str:
    """What `--version` prints."""
    return f"{immune_data.NAME} {immune_data.__version__}"


def module(name: str) -> ModuleType:
    """The module of a command: a file, or the `__main__` of a folder."""
    module = import_module(name)
    return import_module(f"{name}.__main__") if hasattr(module, "__path__") else module


def parser(module: str, *, summary: str, example: str) -> Parser:
    """A parser for `python -m MODULE`, with an example under its help."""
    return Parser(
        prog=f"python -m {module}",
        description=summary,
        epilog=f"example:\n  {example}",
        formatter_class=partial(argparse.RawDescriptionHelpFormatter, width=_WIDTH),
        allow_abbrev=False,
    )


def add_folders(parser: Parser) -> None:
    parser.add_argument(
        "--source",
        type=folder,
        default=Path("data/source"),
        help="folder of the source files (default: data/source)",
    )
    add_data(parser)


def add_data(parser: Parser) -> None:
    parser.add_argument(
        "--data",
        type=folder,
        default=Path("data"),
        metavar="DIR",
        help="folder of tables, database and datasets (default: data)",
    )
    parser.renamed(out="--data")


def verbs(package: str, summaries: Mapping[str, str], argv: Sequence[str] | None) -> int:
    """Run `python -m PACKAGE VERB …`, the same as `python -m PACKAGE.VERB …`.

    `summaries` says what each verb does; `--help` lists them, as does a call without a verb, which
    is bad usage.
    """
    verb, *rest = (sys.argv[1:] if argv is None else argv) or [""]
    if verb in summaries:
        return module(f"{package}.{verb}").main(rest)
    width = max(map(len, summaries)) + 2
    lines = "\n".join(f"  {name:<{width}}{what}" for name, what in summaries.items())
    usage = f"usage: python -m {package} VERB …\n\n{lines}\n\nVERB --help says more."
    with streams.patient():
        if verb in ("-h", "--help", "--version"):
            print(version() if verb == "--version" else usage)
            return 0
        if not verb:
            print(usage, file=sys.stderr)
            return 2
        return _print_error(f"{verb} is not a verb: use one of {', '.join(summaries)}")


def run(parser: argparse.ArgumentParser, command: Command, argv: Sequence[str] | None) -> int:
    """Parse `argv`, run `command` and turn its outcome into an exit code.

    0 done, 1 a check failed, 2 bad usage or bad input, 130 interrupted, 143 terminated.
    """
    with streams.patient() as output:
        try:
            code = _outcome(parser, command, argv)
        except signals.EndRequested as request:  # just before the command begins, or after its end
            code = _print_interruption(request.number)
        sys.stdout.flush()
        if output.failure and code in (0, 1):
            code = _print_error(f"standard output cannot be written: {output.failure}")
        return code


def _outcome(parser: argparse.ArgumentParser, command: Command, argv: Sequence[str] | None) -> int:
    with signals.Ending() as ending:
        try:
            arguments = parser.parse_args(_check_encoding(sys.argv[1:] if argv is None else argv))
            if getattr(arguments, "json", False) or getattr(arguments, "csv", False):
                streams.use_utf8()
            return command(arguments) or 0
        except streams.ReaderGone:
            return 0  # it has read all that it needs (`| head`)
        except KeyboardInterrupt:
            return _print_interruption(ending.received or signal.SIGINT)
        except Exception as error:
            if ending.received:  # libraries turn the interruption into errors of their own
                return _print_interruption(ending.received)
            if isinstance(error, ImmuneError):
                return _print_error(str(error), error.exit_code)
            if isinstance(error, MemoryError):
                return _print_error(
                    "there is too little memory: close other programs and run again"
                )
            if isinstance(error, ImportError) and not (error.name or "").startswith("immune_"):
                last = str(error).strip().splitlines()[-1:]
                return _print_error(f"a library cannot be loaded: {''.join(last)}")
            if isinstance(error, OSError) and error.strerror:
                what = f"{error.filename}: " if error.filename is not None else ""
                return _print_error(f"{what}{error.strerror}")
            raise


def _print_error(sentence: str, code: int = 2) -> int:
    print(f"error: {one_line(sentence)}", file=sys.stderr)
    return code


def _print_interruption(number: int) -> int:
    print(signals.sentence(number), file=sys.stderr)
    return 128 + number


def _check_encoding(argv: Sequence[str]) -> Sequence[str]:
    for argument in argv:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise ImmuneError(
                f"{os.fsencode(argument)!r} cannot be read as {sys.getfilesystemencoding()}: "
                "give names in UTF-8, in a UTF-8 locale (LC_ALL=C.UTF-8)"
            ) from None
    return argv


def path(text: str) -> Path:
    """An argument that is a path; a `~` that no shell expands, as in `--data=~/data`, is home."""
    if not text:
        raise argparse.ArgumentTypeError("the path is empty")
    return Path(os.path.expanduser(text))  # noqa: PTH111 (it leaves `./~` as it is)


def folder(text: str) -> Path:
    """An argument that is a folder, which need not exist yet."""
    location = path(text)
    if location.exists() and not location.is_dir():
        raise argparse.ArgumentTypeError(f"{location} is a file: name a folder")
    return location


def file(text: str) -> Path:
    """An argument that is a file, which need not exist yet; a pipe is one too."""
    location = path(text)
    if location.is_dir():
        raise argparse.ArgumentTypeError(f"{location} is a folder: name a file")
    return location


def dataset(text: str) -> str:
    """An argument that is a dataset: an address on the Hub, or a folder."""
    location = None if text.startswith("hf://") else folder(text)
    return str(location) if location and location.is_dir() else text


def positive(text: str) -> int:
    """An argument that is a whole number above zero."""
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text[:40]} is not a whole number above zero")
    return int(text)


def seed(text: str) -> int:
    """An argument that seeds a generator of random numbers."""
    if not text.isascii() or not text.isdigit() or len(text) > _DIGITS:
        raise argparse.ArgumentTypeError(f"{text[:40]} is not a whole number, 0 or more")
    return int(text)


def temperature(text: str) -> float:
    """An argument that says how far a model may stray from its best token; 0: not at all."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 10:
        raise argparse.ArgumentTypeError(f"{text[:40]} is not a number from 0 to 10")
    return value


def threads(text: str) -> int:
    """An argument that is a number of threads: no more than our libraries can start."""
    number = positive(text)
    if number > _THREADS:
        raise argparse.ArgumentTypeError(f"{number} is more than {_THREADS}")
    return number


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Something to report steps to: one moving line on a terminal, plain lines elsewhere."""
    if not sys.stderr.isatty():
        yield lambda line: print(one_line(line), file=sys.stderr)
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(file=streams.styled(sys.stderr))
    spinner = "dots" if console.encoding.startswith("utf") else "line"
    with console.status("starting", spinner=spinner) as status:
        yield lambda line: status.update(Text(one_line(line)))
