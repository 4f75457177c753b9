"""Check an emitted dataset for faults.

    python -m immune_data.audit --data data --recipe unified-v2

In: `immune.duckdb` of an output folder, or a published dataset. Out: one line per check in
`sql/audit/`, and the rows of those that failed as `audit/<recipe>/<check>.parquet`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from immune_data import recipes
from immune_data.common import cli, hub, jsonfile
from immune_data.common.errors import ImmuneError
from immune_data.common.text import are, counted, one_line

if TYPE_CHECKING:
    import duckdb

    from immune_data.audit.checks import Check, Result
    from immune_data.audit.held_out import HeldOut

_NAMED = 5  # ids that a sentence names
_ID = 80  # characters of an id

_EPILOG = """python -m immune_data.audit --recipe unified-clean
  python -m immune_data.audit eval_in_train answer_cut   only these checks
  python -m immune_data.audit --list                     the checks, and what each finds
  python -m immune_data.audit funnel                     the way of the incidents
  python -m immune_data.audit diff data/sft/unified-v1 data/sft/unified-v2
  python -m immune_data.audit --dataset hf://datasets/ORG/NAME@v1"""


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(_parser(), _command, argv)


def _parser() -> argparse.ArgumentParser:
    parser = cli.parser(
        "immune_data.audit",
        summary="Run the checks in sql/audit/ on a dataset: each is a query that returns the\n"
        "faulty rows. Exit code 1 says that a check of severity `error` found some.",
        example=_EPILOG,
    )
    parser.add_argument(
        "what",
        nargs="*",
        metavar="CHECK",
        help="checks to run (default: all); or `funnel`; or `diff FOLDER FOLDER`",
    )
    cli.add_data(parser)
    recipes.add_option(parser)
    parser.add_argument("--list", action="store_true", help="list the checks without running them")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument(
        "--held-out",
        type=cli.file,
        metavar="FILE",
        help="incidents that must not be in train: one id per line, a JSON array of ids, or "
        "objects with incident_id in either form",
    )
    parser.add_argument(
        "--dataset",
        type=cli.dataset,
        metavar="hf://datasets/ORG/NAME[@REV]|DIR",
        help="audit a published dataset, which is downloaded, or the folder that publish wrote",
    )
    parser.renamed(**{"from": "--dataset"})
    return parser


def _command(arguments: argparse.Namespace) -> int:
    first, *rest = arguments.what or [None]
    if first == "diff":
        _refuse_options(arguments, "`audit diff`", "held_out", "dataset", "recipe")
        return _diff(arguments, rest)
    if arguments.list:
        _refuse_options(arguments, "`audit --list`", "held_out", "dataset")
        return _list(arguments)
    if first == "funnel":
        _refuse_options(arguments, "`audit funnel`", "held_out")
        if rest:
            raise ImmuneError("`audit funnel` takes no checks: name them without it")
        with _connection(arguments) as connection:
            return _funnel(connection, arguments)
    from immune_data.audit import checks, held_out

    selected = checks.load(arguments.what or None)
    if arguments.held_out and held_out.CHECK not in [check.name for check in selected]:
        raise ImmuneError(
            f"--held-out is for the check {held_out.CHECK}: name it too, or leave the option out"
        )
    with _connection(arguments) as connection:
        return _audit(connection, selected, arguments)


def _refuse_options(arguments: argparse.Namespace, command: str, *options: str) -> None:
    """Refuse options that would be ignored."""
    defaults = vars(_parser().parse_args([]))
    ignored = [name for name in options if getattr(arguments, name) != defaults[name]]
    if ignored:
        names = [f"--{name.replace('_', '-')}" for name in ignored]
        raise ImmuneError(f"{command} has no use for {' and '.join(names)}: leave it out")


@contextmanager
def _connection(arguments: argparse.Namespace) -> Iterator[duckdb.DuckDBPyConnection]:
    """The recipe's database, local or downloaded, with the held-out ids in it."""
    from immune_data.audit import held_out
    from immune_data.select.database import OtherVersion, reading

    ids = held_out.read(arguments.held_out) if arguments.held_out else None
    with ExitStack() as stack:
        if arguments.dataset:
            from immune_data.audit import published

            recipe = _recipe(arguments)
            report = stack.enter_context(cli.progress())
            out = stack.enter_context(published.opened(arguments.dataset, recipe, report))
            try:
                connection = stack.enter_context(reading(out, recipe))
            except OtherVersion:
                raise ImmuneError(
                    f"{arguments.dataset} was published by another version of immune: publish it "
                    "again, or audit it with that version"
                ) from None
        else:
            recipe_to_read = recipes.load(arguments.recipe)
            connection = stack.enter_context(reading(arguments.data, recipe_to_read))
        if ids is not None:
            _report_held_out(held_out.overlay(connection, ids), arguments)
        yield connection


def _report_held_out(held_out: HeldOut, arguments: argparse.Namespace) -> None:
    """Print how many of the ids are those of known incidents, and which are not."""
    known = held_out.ids - len(held_out.unknown)
    if not known:
        raise ImmuneError(
            f"no incident has any of the ids in {arguments.held_out}, such as "
            f"{one_line(held_out.unknown[0], _ID)}: give those of the source files"
        )
    message = f"held out: {known:,} of {counted(held_out.ids, 'id')} {are(known)} known"
    if held_out.unknown:
        names = ", ".join(one_line(name, _ID) for name in held_out.unknown[:_NAMED])
        message += f"; unknown: {names}{' …' if len(held_out.unknown) > _NAMED else ''}"
    print(message, file=sys.stderr if arguments.json else sys.stdout)


def _recipe(arguments: argparse.Namespace) -> str:
    """The recipe's name: a published recipe need not be a known one."""
    return Path(arguments.recipe).stem if arguments.recipe.endswith(".toml") else arguments.recipe


def _list(arguments: argparse.Namespace) -> int:
    from immune_data.audit import checks

    selected = checks.load(arguments.what or None)
    if arguments.json:
        keys = ("name", "severity", "sentence", "bound")
        content = [{key: getattr(check, key) for key in keys} for check in selected]
        print(jsonfile.text(content), end="")
    else:
        for check in selected:
            print(f"{check.severity:<7}{check.name:<34}{check.sentence}")
    return 0


def _audit(
    connection: duckdb.DuckDBPyConnection, selected: list[Check], arguments: argparse.Namespace
) -> int:
    from immune_data.audit import checks

    results: list[Result] = []
    with _keep_rows(_rows_folder(arguments), results) as (folder, hidden):
        if not arguments.json:
            print(
                f"{'':<8}{'severity':<10}{'check':<34}{'rows':>8}  {'first incident':<38}shown by"
            )
        for result in checks.run(connection, selected, keep=hidden):
            results.append(result)
            if not arguments.json:
                print(_line(result, _command_to_show(result, folder, arguments)), flush=True)
    errors = [result for result in results if result.failed and result.check.severity == "error"]
    if arguments.json:
        _print_json(results, folder, arguments)
    else:
        _print_closing(results, errors, folder, arguments)
    return 1 if errors else 0


@contextmanager
def _keep_rows(folder: Path, results: list[Result]) -> Iterator[tuple[Path | None, Path | None]]:
    """The folder for the rows of failed checks, and the one to write them into; or neither.

    Files appear after all checks. If the folder is read-only, no rows are kept.
    """
    from immune_data.common import files

    with ExitStack() as stack:
        try:
            stack.enter_context(files.locked(folder))
        except files.ReadOnly as error:
            print(f"the rows of failed checks are not kept: {error}", file=sys.stderr)
            yield None, None
            return
        hidden = stack.enter_context(files.staging(folder))
        yield folder, hidden
        for result in results:
            path = folder / f"{result.check.name}.parquet"
            if result.failed:
                files.move(hidden / path.name, path)
            else:
                path.unlink(missing_ok=True)


def _line(result: Result, command: str | None) -> str:
    """The line of one check: its result, the number of rows, the first one, how to see them."""
    check = result.check
    mark = "ok" if not result.failed else "FAILED" if check.severity == "error" else "found"
    line = f"{mark:<8}{check.severity:<10}{check.name:<34}{result.rows:>8,}"
    return (
        f"{line}  {one_line(result.first_incident or '', _ID):<38}{command or ''}".rstrip()
        if result.failed
        else line
    )


def _rows_folder(arguments: argparse.Namespace) -> Path:
    """The folder for the rows of failed checks; for a published dataset it has its name."""
    folder = arguments.data / "audit"
    if arguments.dataset:
        local = Path(arguments.dataset)
        name = local.resolve().name if local.is_dir() else hub.address(arguments.dataset).repo_id
        folder = folder / name
    return folder / _recipe(arguments)


def _command_to_show(
    result: Result, folder: Path | None, arguments: argparse.Namespace
) -> str | None:
    """The command that shows a check's rows; None if that needs their file, and there is none.

    There is no local database of a published dataset, and none with the held-out ids.
    """
    from immune_data.audit import checks
    from immune_data.recipes import DEFAULT

    command = ["python", "-m", "immune_data.sql"]
    if arguments.dataset or arguments.held_out:
        file = folder / f"{result.check.name}.parquet" if folder else None
        return shlex.join([*command, str(file)]) if file else None
    path = checks.folder() / f"{result.check.name}.sql"
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    command.append(str(path))
    if arguments.recipe != DEFAULT:
        command += ["--recipe", arguments.recipe]
    if arguments.data != Path("data"):
        command += ["--data", str(arguments.data)]
    return shlex.join(command)


def _print_closing(
    results: list[Result], errors: list[Result], folder: Path | None, arguments: argparse.Namespace
) -> None:
    if any(result.failed for result in results):
        place = f"the rows of failed checks are in {folder}; " if folder else ""
        print(f"{place}--list says what each check finds")
    subject = f"{counted(len(results), 'check')} of {_recipe(arguments)}"
    if errors:
        names = ", ".join(result.check.name for result in errors)
        print(f"{subject}: {len(errors)} of severity error failed: {names}")
    else:
        print(f"{subject}: none of severity error failed")


def _print_json(results: list[Result], folder: Path | None, arguments: argparse.Namespace) -> None:
    content = [
        {
            "check": result.check.name,
            "severity": result.check.severity,
            "sentence": result.check.sentence,
            "bound": result.check.bound,
            "status": result.status,
            "rows": result.rows,
            "first_incident": result.first_incident,
            "parquet": str(folder / f"{result.check.name}.parquet")
            if folder and result.failed
            else None,
            "shows": _command_to_show(result, folder, arguments),
        }
        for result in results
    ]
    print(jsonfile.text(content), end="")


def _funnel(connection: duckdb.DuckDBPyConnection, arguments: argparse.Namespace) -> int:
    from immune_data.audit import funnel

    tables = funnel.gather(connection)
    if arguments.json:
        print(jsonfile.text(tables), end="")
    else:
        funnel.show(tables)
    return 0


def _diff(arguments: argparse.Namespace, folders: list[str]) -> int:
    from immune_data.audit import difference

    if len(folders) != 2:
        raise ImmuneError("`audit diff` takes two folders of emitted datasets")
    with difference.compare(*map(Path, folders)) as differences:
        if arguments.json:
            json.dump(differences.summary(), sys.stdout, indent=2, ensure_ascii=False)
            print()
        else:
            differences.show()
        return 0 if differences.equal else 1


if __name__ == "__main__":
    sys.exit(main())
