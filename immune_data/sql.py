"""Query the tables and a recipe's relations: a query in, its rows out.

    python -m immune_data.sql "select verdict, count(*) from gates group by verdict"

In: `immune.duckdb` of an output folder, opened read-only, and one query: an argument, the path of
a file, or standard input; or a Parquet file alone. Out: a table, CSV, JSON or a Parquet file. CSV,
JSON and Parquet are streamed, so that a result may be larger than memory.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING

from immune_data import recipes
from immune_data.common import cli, duck, files, streams, textfile
from immune_data.common.errors import ImmuneError
from immune_data.common.table import aligned, print_rich, spreadsheet_cell, widths
from immune_data.common.text import counted, one_line
from immune_data.select.database import NAME
from immune_data.select.steps import sql_folder

if TYPE_CHECKING:
    import duckdb

_TERMINAL_ROWS = 50
_TERMINAL_CELL = 200
_TERMINAL_COLUMN = 8  # a column gets this much of a terminal, or rows are shown one below another
_PLAIN_CELL = 100
_PLAIN_ALIGNED = 1000  # the first rows of a plain table, which determine the widths of all
_BATCH = 4096
_ROW_GROUP_ROWS = 122_880
_ROW_GROUP_BYTES = 1 << 26

_NUMBERS = re.compile(r"U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL.*")
_EXPLAIN = re.compile(r"\s*explain(\s*\([^)]*\)|\s+analyze\b)?", re.IGNORECASE)

Row = tuple[str | None, ...]


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        "immune_data.sql",
        summary="Run one query over the tables and the recipe's relations, read-only.\n\n"
        "The database cannot be changed. SQL may still read any file that you may read\n"
        "(`from 'some.parquet'`, `read_text`): run only queries that you have read.",
        example='python -m immune_data.sql "select verdict, count(*) from gates group by verdict"\n'
        "  python -m immune_data.sql --recipe unified-clean --csv query.sql > rows.csv\n"
        "  echo 'from funnel' | python -m immune_data.sql --json",
    )
    parser.add_argument(
        "query",
        nargs="?",
        default="-",
        help="a query, or the path of a .sql file; `-` or nothing: standard input; the path of a "
        ".parquet file: its rows, without a database",
    )
    cli.add_data(parser)
    recipes.add_option(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print CSV with a header")
    form.add_argument("--json", action="store_true", help="print an array of objects")
    form.add_argument("--parquet", type=cli.file, metavar="FILE", help="write a Parquet file")
    return cli.run(parser, _command, argv)


def _command(arguments: argparse.Namespace) -> None:
    with _connection(arguments) as (connection, text), rows_of(connection, text) as relation:
        if arguments.parquet:
            _refuse_outputs(arguments.parquet, arguments.data)
            rows = counted(_parquet(relation, arguments.parquet), "row")
            print(f"wrote {rows}, {arguments.parquet}")
            return
        with streams.for_reader():
            if arguments.json:
                _json(relation)
            elif arguments.csv:
                _csv(relation)
            else:
                _table(relation)


@contextmanager
def _connection(arguments: argparse.Namespace) -> Iterator[tuple[duckdb.DuckDBPyConnection, str]]:
    """A connection and the query; one without a database for the rows of a Parquet file."""
    from immune_data.select.database import reading

    file = _file(arguments.query)
    if file is not None and file.suffix == ".parquet":
        with duck.connect() as connection:
            yield connection, "from " + duck.PARQUET.replace("?", duck.quoted(duck.pattern(file)))
        return
    text = _text(arguments.query)
    with reading(arguments.data, recipes.load(arguments.recipe)) as connection:
        yield connection, text


@contextmanager
def rows_of(connection: duckdb.DuckDBPyConnection, text: str) -> Iterator[duckdb.DuckDBPyRelation]:
    """The rows of one query, to be read while the context lasts.

    Raises:
        ImmuneError: it does not run, is not one query, or would change something.
    """
    import duckdb

    connection.execute("set errors_as_json = true")
    query = _one_query(connection, text)
    try:
        yield connection.sql(query)
    except duckdb.Error as error:
        raise ImmuneError(_sentence(error, query, connection)) from None


def _text(argument: str) -> str:
    """The query in the argument, or in the file that it names."""
    if argument == "-":
        if sys.stdin.isatty():
            raise ImmuneError("no query: give one, the path of a .sql file, or standard input")
        return textfile.standard_input()
    file = _file(argument)
    if file is not None:
        return textfile.read(file)
    path = Path(argument)
    if path.suffix == ".sql" and len(argument.split()) == 1:
        # Our own files, as `audit` names them, wherever they were installed.
        shipped = sql_folder().parent / path
        if path.parts[0] == "sql" and shipped.is_file():
            return textfile.decoded(shipped.read_bytes(), argument)
        raise ImmuneError(f"there is no file {argument}")
    return argument


def _file(argument: str) -> Path | None:
    """The file that the argument names; None if it names none."""
    path = Path(argument)
    try:
        return path if path.is_file() else None
    except PermissionError as error:
        raise ImmuneError(f"cannot read {argument}: {error.strerror}") from None
    except (OSError, ValueError):  # a query is not a path: too long, or with a zero byte
        return None


def _one_query(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    """The text, if it is one statement that only reads.

    Raises:
        ImmuneError: it is empty, several statements, one that would change something, or not SQL.
    """
    import duckdb

    try:
        statements = connection.extract_statements(text)
    except duckdb.Error as error:
        raise ImmuneError(_sentence(error, text, None)) from None
    if not statements:
        raise ImmuneError("the query is empty: write one, such as `from funnel`")
    if len(statements) > 1:
        raise ImmuneError(f"there are {len(statements)} statements: give one query at a time")
    [statement] = statements
    kind = statement.type.name
    if kind == "EXPLAIN":  # `explain analyze` runs what it explains
        try:
            inner = connection.extract_statements(_EXPLAIN.sub("", statement.query, count=1))
            kind = inner[0].type.name
        except (duckdb.Error, IndexError):
            pass
    pivot = kind == "MULTI" and re.match(r"\s*(pivot|from|with|select|\()", text, re.IGNORECASE)
    if kind != "SELECT" and not pivot:
        raise ImmuneError(
            f"only queries run here, and this is {_article(kind)} {kind} statement: "
            "start with select, from, with, values, describe, summarize, show or explain"
        )
    return _without_end(connection, text)


def _without_end(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    """One statement without its final semicolon and anything after it."""
    import duckdb

    def statements(text: str) -> int | None:
        try:
            return len(connection.extract_statements(text))
        except duckdb.Error:  # the semicolon is in a string or a comment
            return None

    for end in (match.start() for match in re.finditer(";", text)):
        if statements(text[:end]) == 1 and statements(text[end + 1 :]) == 0:
            return text[:end]
    return text


def _article(word: str) -> str:
    return "an" if word[0] in "AEIOU" else "a"


def _sentence(error: duckdb.Error, query: str, connection: duckdb.DuckDBPyConnection | None) -> str:
    """DuckDB's message on one line, with the line and column of the error."""
    import duckdb

    message, position = _message(error)
    is_unbound = isinstance(error, duckdb.BinderException | duckdb.CatalogException)
    if position is None and is_unbound and connection is not None:
        # The error of a bound relation has no position; binding the text again yields it.
        prefix = "explain "
        try:
            connection.execute(prefix + query)
        except duckdb.Error as second_error:
            place = _message(second_error)[1]
            position = None if place is None else place - len(prefix)
    if position is not None and 0 <= position <= len(query.encode()):
        before = query.encode()[:position].decode(errors="ignore").split("\n")
        message += f" (line {len(before)}, column {len(before[-1]) + 1})"
    return one_line(f"the query does not run: {message}")


def _message(error: duckdb.Error) -> tuple[str, int | None]:
    text = str(error)
    _, brace, rest = text.partition(": {")
    try:
        fields = json.loads("{" + rest) if brace else {}
        message = fields["exception_message"]
    except (ValueError, KeyError):
        message, fields = text.partition(": ")[2] or text, {}
    candidates = re.sub(r"\n\s*Candidate functions:.*", "", message, flags=re.DOTALL)
    lines = [line.strip() for line in candidates.split("\n\nLINE ")[0].splitlines()]
    position = str(fields.get("position"))
    message = " ".join(filter(None, lines))
    return message, int(position) if position.isdigit() else None


def _rows(relation: duckdb.DuckDBPyRelation, expression: str) -> Iterator[Row]:
    """The rows as text, by a SQL expression for the `{}`th column."""
    columns = ", ".join(expression.format(i + 1) for i in range(len(relation.columns)))
    for batch in relation.project(columns).to_arrow_reader(_BATCH):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _distinct_names(relation: duckdb.DuckDBPyRelation) -> list[str]:
    names = relation.columns
    for name in names:
        if names.count(name) > 1:
            raise ImmuneError(f"two columns are called {name}: name one of them with `as`")
    return names


def _texts(relation: duckdb.DuckDBPyRelation) -> Iterator[Row]:
    """The rows as text, with nested values as JSON."""
    columns = ", ".join(
        f"to_json(#{i})::varchar" if _is_nested(kind) else f"#{i}::varchar"
        for i, kind in enumerate(relation.types, start=1)
    )
    for batch in relation.project(columns).to_arrow_reader(_BATCH):
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _is_nested(kind: object) -> bool:
    return str(kind).endswith("]") or str(kind).startswith(("STRUCT", "MAP", "UNION"))


def _csv(relation: duckdb.DuckDBPyRelation) -> None:
    import csv

    rows = _texts(relation)
    first = next(rows, None)  # a query that fails at once prints nothing
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(map(spreadsheet_cell, relation.columns))
    is_number = [bool(_NUMBERS.fullmatch(str(kind))) for kind in relation.types]
    for row in rows if first is None else chain([first], rows):
        writer.writerow(
            value if value is None or is_numeric else spreadsheet_cell(value)
            for value, is_numeric in zip(row, is_number, strict=True)
        )


def _json(relation: duckdb.DuckDBPyRelation) -> None:
    keys = [json.dumps(name, ensure_ascii=False) for name in _distinct_names(relation)]
    separator = "["
    for row in _rows(relation, "to_json(#{})::varchar"):
        values = (_json_value(value) for value in row)
        pairs = ", ".join(f"{key}: {value}" for key, value in zip(keys, values, strict=True))
        sys.stdout.write(f"{separator}\n{{{pairs}}}")
        separator = ","
    print("[]" if separator == "[" else "\n]")


def _json_value(text: str | None) -> str:
    if text is None:
        return "null"
    if "NaN" in text or "Infinity" in text:  # DuckDB writes them as numbers, which is not JSON
        return json.dumps(json.loads(text, parse_constant=lambda _: None), ensure_ascii=False)
    return text


def _refuse_outputs(path: Path, data: Path) -> None:
    """Refuse to overwrite the output of a run."""
    target, folder = path.resolve(), data.resolve()
    if target == folder / NAME or any(
        target.is_relative_to(folder / part) for part in ("sft", "tables")
    ):
        raise ImmuneError(f"{path} is an output of `emit`: name another file")


def _parquet(relation: duckdb.DuckDBPyRelation, path: Path) -> int:
    """Write the rows to `path`, whole or not at all, and return their number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    _distinct_names(relation)
    files.target(path)
    if not path.parent.is_dir():
        raise ImmuneError(f"cannot write {path}: there is no folder {path.parent}")
    reader = relation.to_arrow_reader(_BATCH)
    rows = pending_rows = pending_bytes = 0
    batches: list[pa.RecordBatch] = []
    try:
        with (
            files.replacing(path) as unfinished,
            unfinished.open("wb") as file,
            pq.ParquetWriter(file, reader.schema, compression="zstd") as writer,
        ):
            for batch in reader:
                batches.append(batch)
                pending_rows += batch.num_rows
                pending_bytes += batch.nbytes
                if pending_rows >= _ROW_GROUP_ROWS or pending_bytes >= _ROW_GROUP_BYTES:
                    writer.write_table(pa.Table.from_batches(batches))
                    rows += pending_rows
                    batches, pending_rows, pending_bytes = [], 0, 0
            writer.write_table(pa.Table.from_batches(batches, reader.schema))
            rows += pending_rows
    except pa.ArrowNotImplementedError as error:
        raise ImmuneError(
            f"Parquet cannot store a column of the result, cast it: {one_line(str(error))}"
        ) from None
    return rows


def _table(relation: duckdb.DuckDBPyRelation) -> None:
    names = [one_line(name, _PLAIN_CELL) for name in relation.columns]
    right = [bool(_NUMBERS.fullmatch(str(kind))) for kind in relation.types]
    if sys.stdout.isatty():
        _terminal_table(names, right, _texts(relation))
    else:
        _plain_table(names, right, _texts(relation))


def _plain_table(names: list[str], right: list[bool], rows: Iterator[Row]) -> None:
    """Aligned by the first rows; longer cells shift their line, and rows are printed at once."""
    cells = ([_cell(value, _PLAIN_CELL) for value in row] for row in rows)
    first = list(islice(cells, _PLAIN_ALIGNED))
    columns = widths([names, *first])
    print(aligned(names, columns, right))
    print("  ".join("-" * width for width in columns))
    for row in chain(first, cells):
        print(aligned(row, columns, right))


def _terminal_table(names: list[str], right: list[bool], rows: Iterator[Row]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    first = [
        [_cell(value, _TERMINAL_CELL) for value in row] for row in islice(rows, _TERMINAL_ROWS)
    ]
    count = len(first) + sum(1 for _ in rows)
    console = Console(highlight=False)
    table = Table(box=box.SIMPLE_HEAD)
    columns = widths([names, *first])
    if sum(min(width, _TERMINAL_COLUMN) + 2 for width in columns) <= console.width:
        for name, numeric in zip(names, right, strict=True):
            table.add_column(
                Text(name),
                justify="right" if numeric else "left",
                no_wrap=True,
                overflow="ellipsis",
            )
        for row in first:
            table.add_row(*map(Text, row))
    else:
        table.add_column("column", no_wrap=True)
        table.add_column("value", no_wrap=True, overflow="ellipsis")
        for row in first:
            for name, value in zip(names, row, strict=True):
                table.add_row(Text(name), Text(value))
            table.add_section()
    print_rich(console, table)
    if count > len(first):
        print(f"the first {len(first)} of {count:,} rows; --csv, --json and --parquet write all")
    else:
        print(f"{count} row{'' if count == 1 else 's'}")


def _cell(value: str | None, limit: int) -> str:
    return "null" if value is None else one_line(value, limit)


if __name__ == "__main__":
    sys.exit(main())
