"""Whatever data holds, what a command prints moves no cursor, colours nothing, forges no line."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from asked import MODEL, ask, questions
from chat_server import ChatServer, completion
from corpus import MODELS, RUN_1, TASKS, Corpus, answer

from immune_data.ask.endpoints import Endpoint
from immune_data.common import cli, streams
from immune_data.common.table import spreadsheet_cell

FORGED = "FORGED: all is well"
# Cursor and colour, the same as C1 characters, another title, bidirectional and zero-width
# characters, and a line of its own.
HOSTILE = f"a\x1b[2J\x1b[31m\x9b1A\x1b]0;t\x07\u202eb\u2066\u200b\x85\r\n{FORGED}"
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")

Printed = Callable[..., tuple[int, str]]


@pytest.fixture
def printed(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Printed:
    """What a command prints to the file descriptors, both of them, and its exit code."""

    def run(module: str, *arguments: object) -> tuple[int, str]:
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", sys.__stdout__)
            patched.setattr(sys, "stderr", sys.__stderr__)
            capfd.readouterr()
            code = cli.module(module).main([*map(str, arguments)])
        out, err = capfd.readouterr()
        return code, out + err

    return run


@pytest.fixture(scope="session")
def folder(shared_folder: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """Sources in which everything that can be is hostile; two ids, of which one is no UUID."""

    def make(folder: Path) -> None:
        corpus = Corpus().incidents("cdefgh", facts={"category": HOSTILE, "source_ip": HOSTILE})
        said = {
            model: {task: f"{HOSTILE} ``` {answer(task, HOSTILE, model)}" for task in TASKS}
            for model in MODELS
        }
        for name in ("a", HOSTILE):
            corpus.incident(name, answers=said, dag=f"{HOSTILE}\n" * 3)
        corpus.rows[RUN_1].append({"incident_id": HOSTILE, "scores": {HOSTILE: HOSTILE}})
        corpus.write(folder / "source")

    return shared_folder("hostile-output", make)


@pytest.fixture(scope="session")
def out(folder: Path, shared_folder: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    def make(into: Path) -> None:
        command = ["--source", str(folder / "source"), "--data", str(into / "out")]
        assert cli.module("immune_data.emit").main(command) == 0

    return shared_folder("hostile-output-emitted", make) / "out"


def harmless(text: str) -> None:
    assert not UNSEEN.search(text), UNSEEN.search(text)
    assert not any(line.strip().startswith(FORGED) for line in text.splitlines())


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("immune_data.audit", ["--data", "{out}"]),
        ("immune_data.audit", ["funnel", "--data", "{out}"]),
        ("immune_data.audit", ["code_fence", "--data", "{out}", "--json"]),
        ("immune_data.audit", ["diff", "{out}/sft/unified-v2", "{copy}"]),
        ("immune_data.audit", ["diff", "--json", "{out}/sft/unified-v2", "{copy}"]),
        ("immune_data.why", ["a", "--data", "{out}", "--json"]),
        ("immune_data.why", [HOSTILE[:6], "--data", "{out}", "--json"]),
        ("immune_data.sql", ["from incidents", "--data", "{out}"]),
        ("immune_data.sql", ["from conversations", "--data", "{out}"]),
        ("immune_data.sql", ["from conversations", "--data", "{out}", "--json"]),
        ("immune_data.sql", [f'select 1 as "{HOSTILE.replace(chr(10), "")}"', "--data", "{out}"]),
    ],
)
def test_what_is_printed_is_harmless(
    module: str, arguments: list[str], printed: Printed, out: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for split in ("train", "eval"):
        emitted = out / "sft" / "unified-v2" / f"{split}.jsonl"
        lines = emitted.read_bytes().splitlines(keepends=True)
        (copy / f"{split}.jsonl").write_bytes(b"".join(lines[:-1]))
    places = {"{out}": str(out), "{copy}": str(copy)}
    for name, path in places.items():
        arguments = [argument.replace(name, path) for argument in arguments]
    code, text = printed(module, *arguments)
    assert code in (0, 1), text
    harmless(text)


def test_a_story_shows_the_lines_of_a_text_and_nothing_else(printed: Printed, out: Path) -> None:
    code, text = printed("immune_data.why", HOSTILE[:6], "--data", out, "--full")
    assert code == 0
    assert not UNSEEN.search(text)
    # A message has lines. They stand behind a bar or are set in.
    assert not any(line.startswith(FORGED) for line in text.splitlines())
    assert "\\x1b[2J" in text


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        ("immune_data.why", [f"{HOSTILE}?"]),
        ("immune_data.audit", [HOSTILE]),
        ("immune_data.audit", ["--recipe", HOSTILE]),
        ("immune_data.sql", [f'from "{HOSTILE}"']),
        ("immune_data.emit", ["--source", HOSTILE]),
        ("immune_data.publish", ["--repo-id", HOSTILE, "--license", "mit", "--dry-run"]),
        ("immune_data.publish", ["--repo-id", "a/b", "--license", HOSTILE, "--dry-run"]),
        ("immune_data.slips", [HOSTILE, "--output", "x.json", "--category", "Malware"]),
        ("immune_data.ask", ["list", "--store", HOSTILE]),
        ("immune_data.report", [HOSTILE]),
    ],
)
def test_errors_that_quote_what_was_given_are_one_line(
    module: str, arguments: list[str], printed: Printed, out: Path
) -> None:
    if module not in ("immune_data.emit", "immune_data.slips", "immune_data.ask"):
        arguments = [*arguments, "--data", str(out)]
    code, text = printed(module, *arguments)
    assert code == 2
    assert len(text.splitlines()) == 1, text
    harmless(text)


def test_json_is_the_same_data(printed: Printed, out: Path) -> None:
    _, text = printed("immune_data.sql", "select category from incidents", "--json", "--data", out)
    assert HOSTILE in [row["category"] for row in json.loads(text)]


def test_csv_holds_no_formula_and_numbers_as_they_are(printed: Printed, out: Path) -> None:
    query = "select '=1+1' as a, '-2' as b, -2 as c, -1.5 as d, '@x' as \"+e\", null as f, 'g' as g"
    _, text = printed("immune_data.sql", query, "--csv", "--data", out)
    assert list(csv.reader(io.StringIO(text))) == [
        ["a", "b", "c", "d", "'+e", "f", "g"],
        ["'=1+1", "'-2", "-2", "-1.5", "'@x", "", "g"],
    ]


@pytest.mark.parametrize("first", "=+-@\t\r\n")
def test_a_cell_that_begins_like_a_formula_is_text(first: str) -> None:
    assert spreadsheet_cell(f"{first}x") == f"'{first}x"
    assert spreadsheet_cell(f"x{first}") == f"x{first}"


def test_only_what_we_style_reaches_a_terminal_as_it_is(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    with streams.patient():
        print("\x1b[31ma\u202e\r")
        print("\x1b[1mb", file=streams.styled(sys.stdout))
        print("\x1b[31mc\r", file=sys.stderr)
    out, err = capfd.readouterr()
    assert out == "\\u001b[31ma\\u202e\\r\n\x1b[1mb\n"
    assert err == "\\u001b[31mc\r\n"


def test_replies_of_models_are_shown_harmless(printed: Printed, tmp_path: Path) -> None:
    store = tmp_path / "replies.sqlite"
    with ChatServer(lambda seen, before: completion(HOSTILE)) as server:
        ask(store, questions(2), [Endpoint(url=server.url, model=MODEL)])
    for arguments in (["list"], ["list", "--json"], ["costs"]):
        code, text = printed("immune_data.ask", *arguments, "--store", store)
        assert code == 0
        harmless(text)
    assert MODEL in text
