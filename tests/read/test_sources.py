"""Source files are read strictly: what is tolerated, and every way in which a file is refused."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import tracemalloc
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from corpus import (
    CAUSE_RISK,
    CAUSE_RISK_RUN,
    DATASETS,
    FIELDS,
    FILES,
    MODELS,
    RUN_1,
    RUN_2,
    SUMMARIES,
    Corpus,
    answer,
    digests,
    query,
    records,
    table,
)
from examples import examples
from hypothesis import assume, example, given
from hypothesis import strategies as st

from immune_data import recipes
from immune_data.common.errors import ImmuneError
from immune_data.contract import source_file
from immune_data.contract.source_file import Source
from immune_data.emit import __main__ as emit
from immune_data.read.normalise import normalise

CHUNK = 1 << 20  # source files are read in pieces of this size
PIECE = 1 << 12  # and in pieces of this one where every border is tried
ROWS = json.dumps(Corpus().incidents("abc").rows[CAUSE_RISK])


def read(path: Path) -> list[dict[str, Any]]:
    return [record.value for record in Source(path)]


def outcome(path: Path) -> tuple[list[dict[str, Any]] | None, str]:
    """What was read, or None and the sentence that refuses it."""
    try:
        return read(path), ""
    except ImmuneError as error:
        return None, str(error)


def fault(path: Path) -> str:
    found, said = outcome(path)
    assert found is None
    return said


def junk(text: str) -> str:
    """The rows, the second one with an unknown field that holds `text` as it stands."""
    rows = Corpus().incidents("abc").rows[CAUSE_RISK]
    rows[1]["junk"] = {"deep": ["@@"]}
    return json.dumps(rows).replace('"@@"', text)


def fact(text: str) -> str:
    """The rows, the second one with a threat level that is `text` as it stands."""
    rows = Corpus().incidents("abc").rows[CAUSE_RISK]
    rows[1]["threat_level"] = "@@"
    return json.dumps(rows).replace('"@@"', text)


def beside(text: str) -> str:
    """The rows in the object form, with `text` before them as it stands."""
    return f'{{{text}, "incidents": {ROWS}}}'


def cut(content: str, mark: str, more: int) -> str:
    """What stands up to `mark`, and so many characters more."""
    return content[: content.index(mark) + more]


def emitted(source: Path, out: Path) -> Path:
    emit.emit(source, out, recipes.load("unified-v2"))
    return out


def as_tables(corpus: Corpus, folder: Path) -> Path:
    """What stands for an output folder where a test looks at no more than the tables."""
    (folder / "out" / "tables").mkdir(parents=True)
    source = corpus.write(folder / "source")
    normalise(source, recipes.load("unified-v2"), folder / "out" / "tables", None)
    return folder / "out"


def jsonl(out: Path) -> list[bytes]:
    folder = out / "sft" / "unified-v2"
    return [(folder / f"{split}.jsonl").read_bytes() for split in ("train", "eval")]


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_file, "_CHUNK", PIECE)


# What one file may hold, and what the sentence must say after the file's name.
MALFORMED: dict[str, tuple[bytes | str, str]] = {
    "empty": ("", "is empty"),
    "white space only": (" \n\t\r\n ", "is empty"),
    "byte-order mark only": (b"\xef\xbb\xbf", "is empty"),
    "cut after the bracket": ("[", r"cut short .*byte 1\b"),
    "cut in a key": (ROWS[:5], "cut short .*row 1, byte"),
    "cut in a text": (cut(ROWS, "192.168", 4), "cut short .*row 1, byte"),
    "cut in an escape": (cut(junk(r'"\u00e9"'), r"\u00e9", 4), "row 2, byte"),
    "cut in a pair of escapes": (cut(junk(r'"\ud83d\ude00"'), r"\ude00", 4), "row 2, byte"),
    "cut in a number": (cut(fact("77.25"), "77.25", 4), "cut short .*row 2, byte"),
    "cut in a literal": (cut(junk("true"), "true", 2), "row 2, byte"),
    "cut after a colon": (cut(ROWS, ":", 1), "cut short .*row 1, byte"),
    "cut after a comma": (cut(ROWS, ",", 1), "row 1, byte"),
    "cut after an element": (cut(ROWS, ', {"incident_id": "b"', 0), "cut short .*row 1, byte"),
    "cut between elements": (cut(ROWS, '{"incident_id": "b"', 0), "cut short .*row 2, byte"),
    "cut before the end": (ROWS[:-1], rf"cut short .*row 3, byte {len(ROWS) - 1}\b"),
    "cut in a character": ('[{"a": "é'.encode()[:-1], r"UTF-8 .*byte 8\b"),
    "cut before the end of the object": (beside('"a": 1')[:-1], "cut short .*byte"),
    "cut in a key of the object": ('{"incid', "cut short .*byte"),
    "JSON Lines": (ROWS[1:-1].replace('}, {"inc', '}\n{"inc'), "JSON Lines"),
    "JSON Lines of one line": ('{"incident_id": "a"}\n', "`incidents`"),
    "JSON Lines of arrays": ("[]\n[]\n", r"continues .*byte 3\b"),
    "JSON Lines of objects of arrays": ('{"incidents": []}\n{"incidents": []}', "JSON Lines"),
    "another object": ('{"rows": []}', "`incidents`"),
    "an empty object": ("{}", "`incidents`"),
    "an object under incidents": ('{"incidents": {"a": 1}}', r"array .*byte 14\b"),
    "null under incidents": ('{"incidents": null}', r"array .*byte 14\b"),
    "incidents twice": ('{"incidents": [], "incidents": []}', "twice .*byte"),
    "a number": ("5", r"neither .*byte 0\b"),
    "a text": ('"incidents"', r"neither .*byte 0\b"),
    "null": ("null", r"neither .*byte 0\b"),
    "no JSON at all": ("incident_id,category\n", r"neither .*byte 0\b"),
    "a number as element": (ROWS[:-1] + ", 5]", "row 4 is a number"),
    "a fraction as element": ("[0.5]", "row 1 is a number"),
    "a text as element": ('["a"]', "row 1 is a string"),
    "null as element": (ROWS[:-1] + ", null]", "row 4 is null"),
    "an array as element": ("[" + ROWS + "]", "row 1 is an array"),
    "a boolean as element": ("[true]", "row 1 is a boolean"),
    "NaN": (fact("NaN"), "NaN.*row 2, byte"),
    "Infinity": (fact("Infinity"), "Infinity.*row 2, byte"),
    "-Infinity": (fact("-Infinity"), "-Infinity.*row 2, byte"),
    "NaN in an unknown field": (junk("NaN"), "NaN.*row 2, byte"),
    "NaN beside the array": (beside('"a": [NaN]'), "NaN.*byte"),
    "NaN as element": ("[NaN]", "NaN.*row 1, byte"),
    "first half of a surrogate": (junk(r'"\ud83d"'), "surrogate.*row 2, byte"),
    "second half of a surrogate": (junk(r'"\uDE00"'), "surrogate.*row 2, byte"),
    "surrogates in the wrong order": (junk(r'"\ude00\ud83d"'), "surrogate.*row 2, byte"),
    "half a surrogate before text": (junk(r'"\ud83dabcdef"'), "surrogate.*row 2, byte"),
    "half a surrogate in a key": (junk(r'{"\uD83D": 1}'), "surrogate.*row 2, byte"),
    "half a surrogate in an id": (ROWS.replace('"b"', r'"\udfff"'), "surrogate.*row 2, byte"),
    "half a surrogate beside the array": (beside(r'"a": "\ud800"'), "surrogate.*byte"),
    "half a surrogate in a key beside": (beside(r'"\ud800": 1'), "surrogate.*byte"),
    "the mark twice": (
        f'{{"synthetic": true, "incidents": {ROWS}, "synthetic": false}}',
        "`synthetic` twice .*byte",
    ),
    "a mark that is text": (f'{{"synthetic": "no", "incidents": {ROWS}}}', "true or false .*byte"),
    "a mark that is null": (f'{{"incidents": {ROWS}, "synthetic": null}}', "true or false .*byte"),
    "half a surrogate under a key held twice": (
        junk(r'{"a": "\ud800", "a": "x"}'),
        "surrogate.*row 2, byte",
    ),
    "UTF-16": (ROWS.encode("utf-16"), r"UTF-8 .*byte 0\b"),
    "Latin-1": (junk('"caf\u00e9"').encode("latin-1"), "UTF-8 .*byte"),
    "invalid UTF-8 in an unknown field": (
        junk('"\0"').encode().replace(b"\0", b"\xff"),
        rf"UTF-8 .*byte {junk(chr(0)).index(chr(0)) + 1}\b",
    ),
    "invalid UTF-8 in a key": (
        junk('{"\0": 1}').encode().replace(b"\0", b"\x80"),
        rf"UTF-8 .*byte {junk(chr(0)).index(chr(0)) + 2}\b",
    ),
    "invalid UTF-8 between values": (b"[\xfe]", r"UTF-8 .*byte 1\b"),
    "invalid UTF-8 after the end": (ROWS.encode() + b"\n\xff", rf"UTF-8 .*byte {len(ROWS) + 1}\b"),
    "overlong UTF-8": (b'[{"a": "\xc0\x80"}]', r"UTF-8 .*byte 8\b"),
    "a surrogate in UTF-8": (b'[{"a": "\xed\xa0\x80"}]', r"UTF-8 .*byte 8\b"),
    "a code point too high": (b'[{"a": "\xf4\x90\x80\x80"}]', r"UTF-8 .*byte 8\b"),
    "nested too deeply": (junk("[" * 100_000 + "]" * 100_000), "deep.*row 2, byte"),
    "nested too deeply and not closed": ("[" + '{"a":' * 100_000, "deep.*row 1, byte"),
    "a number of too many digits": (fact("1" * 5_000), "digits.*row 2, byte"),
    "a comma before the end": (ROWS[:-1] + ",]", rf"JSON.*row 4, byte {len(ROWS)}\b"),
    "a comma at the end of an element": ('[{"a": 1,}]', "JSON.*row 1, byte"),
    "a comma at the end of the object": (beside('"a": 1')[:-1] + ",}", "comma.*byte"),
    "only a comma": ("[,]", r"JSON.*row 1, byte 1\b"),
    "no comma between elements": ("[{} {}]", r"JSON.*row 1, byte 4\b"),
    "text after the end": (ROWS + "x", rf"continues .*byte {len(ROWS)}\b"),
    "text after the end of the object": (beside('"a": 1') + "]", "continues .*byte"),
    "no key": ('{5: 1, "incidents": []}', r"key .*byte 1\b"),
    "single quotes": ("[{'a': 1}]", r"JSON.*row 1, byte 2\b"),
    "a comment": ("[ // none\n]", r"JSON.*row 1, byte 2\b"),
    "a number that starts with zero": (fact("012"), "JSON.*row 2, byte"),
    "a number that starts with a plus": (fact("+1"), "JSON.*row 2, byte"),
    "a number without its fraction": (fact("1."), "JSON.*row 2, byte"),
    "a number without a whole part": (fact(".5"), "JSON.*row 2, byte"),
    "a hexadecimal number": (fact("0x10"), "JSON.*row 2, byte"),
    "a Python literal": (fact("None"), "JSON.*row 2, byte"),
    "a line end in a text": (junk('"a\nb"'), "JSON.*row 2, byte"),
    "a zero byte in a text": (junk('"a\0b"'), "JSON.*row 2, byte"),
    "a zero byte between values": ("[\0]", r"JSON.*row 1, byte 1\b"),
    "an unknown escape": (junk(r'"\x41"'), "JSON.*row 2, byte"),
    "an escape that is too short": (junk(r'"\u12"'), "JSON.*row 2, byte"),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_a_malformed_file_is_one_sentence_and_changes_nothing(
    kind: str, tmp_path: Path, standing_out: Path, refused: Callable[..., str]
) -> None:
    content, says = MALFORMED[kind]
    data = content.encode() if isinstance(content, str) else content
    source = Corpus().incidents("abc").write(tmp_path / "source")
    plain, gzipped = source / CAUSE_RISK, source / f"{CAUSE_RISK}.gz"
    plain.write_bytes(data)
    message = refused(emit.main, "--source", source, "--data", standing_out)
    assert re.match(rf"{re.escape(str(plain))}\b.*{says}", message), message
    gzipped.write_bytes(gzip.compress(data))
    assert fault(gzipped) == message.replace(str(plain), str(gzipped))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('[{"incident_id": "a"', r"cut short .*row 1, byte 20\b"),
        ('[{"incident_id": "a"}, {"x": NaN}]', "NaN.*row 2, byte"),
        ('[{"incident_id": "\\ud800"}]', "surrogate.*row 1, byte"),
    ],
)
def test_every_file_is_read_as_strictly(
    name: str,
    content: str,
    says: str,
    tmp_path: Path,
    standing_out: Path,
    refused: Callable[..., str],
) -> None:
    source = Corpus().incident("a").incident("b", run=RUN_2).write(tmp_path / "source")
    (source / name).write_text(content)
    message = refused(emit.main, "--source", source, "--data", standing_out)
    assert re.match(rf"{re.escape(str(source / name))}\b.*{says}", message), message


def test_a_refusal_is_an_exit_code_and_a_sentence_without_a_traceback(
    tmp_path: Path, standing_out: Path
) -> None:
    source = Corpus().incidents("abc").write(tmp_path / "source")
    (source / CAUSE_RISK_RUN).write_bytes((source / CAUSE_RISK_RUN).read_bytes()[:-40])
    command = [sys.executable, "-m", "immune_data.emit", "--source", str(source)]
    done = subprocess.run(
        [*command, "--data", str(standing_out)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    message = done.stderr.splitlines()[-1]
    assert message.startswith(f"error: {source / CAUSE_RISK_RUN} is cut short (row 3, byte ")
    assert done.stderr.count("error") == 1
    assert "Traceback" not in done.stderr


GZIP = gzip.compress(ROWS.encode(), mtime=0)
BAD_GZIP: dict[str, bytes] = {
    "cut in the header": GZIP[:6],
    "cut in the data": GZIP[: len(GZIP) // 2],
    "cut before the checksum": GZIP[:-8],
    "cut in the checksum": GZIP[:-5],
    "cut in the length": GZIP[:-1],
    "one byte": GZIP[:1],
    "plain text": ROWS.encode(),
    "no deflate stream": GZIP[:10] + b"\xff" * 40,
    "a wrong byte in the data": GZIP[:200] + bytes([GZIP[200] ^ 0x55]) + GZIP[201:],
    "a wrong checksum": GZIP[:-8] + bytes([GZIP[-8] ^ 1]) + GZIP[-7:],
    "a wrong length": GZIP[:-1] + bytes([GZIP[-1] ^ 1]),
    "text after the end": GZIP + b"and more",
    "a second member that is cut": GZIP + gzip.compress(b" ")[:-3],
}


@pytest.mark.parametrize("kind", BAD_GZIP)
def test_a_bad_gzip_file_is_one_sentence_and_changes_nothing(
    kind: str, tmp_path: Path, standing_out: Path, refused: Callable[..., str]
) -> None:
    source = Corpus().incidents("abc").write(tmp_path / "source")
    (source / CAUSE_RISK).unlink()
    path = source / f"{CAUSE_RISK}.gz"
    path.write_bytes(BAD_GZIP[kind])
    message = refused(emit.main, "--source", source, "--data", standing_out)
    assert message.startswith(str(path))
    if kind.startswith("cut"):
        assert "cut short" in message


def test_an_empty_gzip_file_is_empty(tmp_path: Path) -> None:
    (tmp_path / "x.json.gz").write_bytes(b"")
    assert "empty" in fault(tmp_path / "x.json.gz")


def test_a_gzip_file_of_several_members_is_one_text(tmp_path: Path) -> None:
    path = tmp_path / "x.json.gz"
    path.write_bytes(gzip.compress(ROWS[:700].encode()) + gzip.compress(ROWS[700:].encode()))
    assert read(path) == json.loads(ROWS)


@pytest.mark.parametrize("name", [name for name in FILES if name != RUN_2])
def test_a_missing_file_is_named(
    name: str, tmp_path: Path, standing_out: Path, refused: Callable[..., str]
) -> None:
    source = Corpus().incident("a").incident("b", run=RUN_2).write(tmp_path / "source")
    (source / name).unlink()
    message = refused(emit.main, "--source", source, "--data", standing_out)
    assert name in message
    assert str(source) in message
    # A folder of that name is not a file.
    (source / name).mkdir()
    assert name in refused(emit.main, "--source", source, "--data", standing_out)


def test_the_second_run_may_be_missing(tmp_path: Path) -> None:
    source = Corpus().incidents("ab").write(tmp_path / "source")
    assert not (source / RUN_2).exists()
    assert len(records(emitted(source, tmp_path / "out"), "train")) == 3


@pytest.mark.parametrize("name", FILES)
def test_both_forms_of_a_file_are_an_error(
    name: str, tmp_path: Path, standing_out: Path, refused: Callable[..., str]
) -> None:
    source = Corpus().incident("a").incident("b", run=RUN_2).write(tmp_path / "source")
    (source / f"{name}.gz").write_bytes(gzip.compress((source / name).read_bytes()))
    message = refused(emit.main, "--source", source, "--data", standing_out)
    assert f"{source / name} and {source / name}.gz" in message


def test_a_source_folder_that_is_missing_or_a_file_is_named(
    tmp_path: Path, standing_out: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "file").write_text("[]")
    for name in ("file", "nowhere", "file/below"):
        message = refused(emit.main, "--source", tmp_path / name, "--data", standing_out)
        assert str(tmp_path / name) in message


def test_a_file_that_goes_while_it_is_read_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(ROWS)
    rows = iter(Source(path))
    next(rows)
    path.unlink()
    with pytest.raises(ImmuneError, match=r"changed while it was read|No such file"):
        list(rows)


def test_a_file_that_grows_while_it_is_read_is_a_sentence(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(ROWS)
    rows = iter(Source(path))
    next(rows)
    path.write_text(ROWS + " ")
    with pytest.raises(ImmuneError, match="changed while it was read"):
        list(rows)


# Where it is wrong


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize(
    ("before", "wrong"),
    [
        ('[{"a": "é𝄞"}, ', '{"b" 5}]'),
        ('[{"a": 1}]\n\n', "x"),
        ('{"é": 1, ', "5}"),
        ('[{"é": "ü"} ', "{}]"),
    ],
)
def test_the_byte_is_counted_from_the_start_of_the_file(
    bom: bytes, before: str, wrong: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(bom + before.encode() + wrong.encode())
    place = int(re.search(r"byte (\d+)", fault(path))[1])
    start = len(bom) + len(before.encode())
    assert start <= place < start + len(wrong)


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("at", [0, 1, 2, PIECE - 3, PIECE - 2, PIECE - 1, PIECE, PIECE + 1])
@pytest.mark.parametrize("wrong", [b"\xff", b"\xf0\x9d\x84x", b"\xe2\x82x", b"\xc3x"])
def test_the_byte_of_invalid_utf8_is_exact_at_every_border(
    at: int, wrong: bytes, tmp_path: Path
) -> None:
    for name, mark in (("x.json", b""), ("y.json", b"\xef\xbb\xbf")):
        path = tmp_path / name
        path.write_bytes(mark + b" " * at + wrong + b" " * 10)
        assert f"(byte {len(mark) + at})" in fault(path)
    path = tmp_path / "z.json.gz"
    path.write_bytes(gzip.compress(b" " * at + wrong + b" " * 10, 1))
    assert f"(byte {at})" in fault(path)


# What is tolerated


def test_forms_and_spellings_of_the_files_do_not_show(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    corpus = Corpus().incidents("abcdef", summary_dag="").incident("gé𝄞", dag="Δ → 😀\nü\n")
    corpus.incident("h", run=RUN_2)
    plain = corpus.write(tmp_path / "plain")
    expected = jsonl(emitted(plain, tmp_path / "out"))
    forms: dict[str, dict[str, Any]] = {
        "plain": {},
        "gzip": {"gzipped": True},
        "some-gzip": {"gzipped": {SUMMARIES, CAUSE_RISK_RUN}},
        "bom": {"bom": True},
        "bom-gzip": {"bom": True, "gzipped": True},
        "object": {"wrapped": True},
        "object-bom-gzip": {"wrapped": True, "bom": True, "gzipped": True},
        "utf8": {"ascii_only": False},
    }
    for name, form in forms.items():
        corpus.write(tmp_path / name, **form)
    files = sorted(path.name for path in plain.iterdir())
    # Each file in another form, and each form once; thorough, every file in every form.
    for first in range(len(forms)) if pytestconfig.getoption("--thorough") else (0, len(files)):
        mixed = tmp_path / f"from {first}"
        mixed.mkdir()
        for place, file in enumerate(files, start=first):
            [path] = (tmp_path / [*forms][place % len(forms)]).glob(f"{file}*")
            shutil.copy(path, mixed)
        assert jsonl(emitted(mixed, tmp_path / f"out {first}")) == expected, first


def test_the_array_may_stand_anywhere_in_the_object(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for text in (
        f'{{"incidents":{ROWS}}}',
        f' {{ "incidents" : {ROWS} , "a" : {{ "incidents" : [1] }} }} ',
        f'{{"a":[{{"incidents":5}}],"b":null,"incidents":\n{ROWS}\n,"c":"]}}"}}\n',
        f'{{"\\u0069ncidents":{ROWS}}}',
    ):
        path.write_text(text)
        assert read(path) == json.loads(ROWS)


def test_an_array_may_be_empty(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for text in ("[]", " [ ] ", '{"incidents": []}', '{"incidents": [ ], "a": 1}'):
        path.write_text(text)
        assert read(path) == []


def test_unknown_fields_do_not_show(tmp_path: Path) -> None:
    plain = Corpus().incidents("abc").write(tmp_path / "plain")
    more = Corpus().incidents("abc")
    for rows in more.rows.values():
        for row in rows:
            row |= {"": None, "x": [{"y": {"summary": 1}}], "incidents": 5, "é": "𝄞", "n": 1e308}
    more.rows[CAUSE_RISK][0]["cause_risk_gpt_4o"]["confidence"] = {"a": "b"}
    more.rows[RUN_1][0]["randomization"] = {"A": "gpt-4o"}
    more.rows[CAUSE_RISK_RUN][0]["cause_scores"]["gpt-4o"]["remark"] = ["none"]
    out = emitted(more.write(tmp_path / "more"), tmp_path / "more-out")
    assert jsonl(out) == jsonl(emitted(plain, tmp_path / "plain-out"))
    assert table(out, "rejects") == []


def test_integers_may_be_written_as_fractions(tmp_path: Path) -> None:
    corpus = Corpus().incident("a", facts={"event_count": 15.0, "threat_level": 12})
    corpus.incident("b", summary_scores={"gpt-4o": 9.0, "gpt-4o-mini": 8.5}, cause={"gpt-4o": 27.0})
    out = emitted(corpus.write(tmp_path / "source"), tmp_path / "out")
    actual = {row["incident_id"]: row for row in table(out, "incidents")}
    assert actual["a"]["event_count"] == 15
    assert isinstance(actual["a"]["event_count"], int)
    assert actual["a"]["threat_level"] == 12.0
    assert table(out, "rejects") == []
    emitted_records = [*records(out, "train"), *records(out, "eval")]
    assert {r["score"] for r in emitted_records if r["task"] == "summary"} == {9.0}
    risk = next(r for r in emitted_records if (r["incident_id"], r["task"]) == ("a", "risk"))
    assert "Events: 15\n" in risk["messages"][0]["content"]


NO_ANSWER = {"missing": ..., "null": None, "empty": "", "blank": " \n\t", "empty object": {}}


Answered = dict[str, set[tuple[str, str]]]
EVERY_ANSWER = {(task, model) for task in ("summary", "cause", "risk") for model in MODELS}


def answered(out: Path) -> Answered:
    """Task and model of every answer, by incident."""
    found: Answered = {}
    for row in table(out, "responses"):
        found.setdefault(row["incident_id"], set()).add((row["task"], row["model"]))
    return found


@pytest.fixture(scope="module")
def unanswered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output folder of incidents that each lack answers in one way, and of a whole one."""
    corpus = Corpus().incident("whole")
    for form, value in NO_ANSWER.items():
        for dataset, name in enumerate(DATASETS):
            row = corpus.incident(f"{form} {dataset}").rows[name][-1]
            for model in MODELS[:2]:
                if value is ...:
                    del row[FIELDS[model][dataset]]
                else:
                    row[FIELDS[model][dataset]] = value
    folder = tmp_path_factory.mktemp("unanswered")
    out = emitted(corpus.write(folder / "source"), folder / "out")
    assert table(out, "rejects") == []
    return out


@pytest.mark.parametrize("form", NO_ANSWER)
@pytest.mark.parametrize("dataset", [0, 1])
def test_an_answer_may_be_missing_in_every_way(form: str, dataset: int, unanswered: Path) -> None:
    tasks = [["summary"], ["cause", "risk"]][dataset]
    missing = EVERY_ANSWER - answered(unanswered)[f"{form} {dataset}"]
    assert missing == {(task, model) for task in tasks for model in MODELS[:2]}
    # The winner has no answer: the incident gives no record, and keeps its place in the split.
    assert (f"{form} {dataset}",) in query(unanswered, "select incident_id from splits")
    unified = [
        record["incident_id"]
        for split in ("train", "eval")
        for record in records(unanswered, split)
        if record["origin"] == "unified"
    ]
    assert unified == ["whole"] * 3


def test_one_half_of_an_answer_may_be_missing(tmp_path: Path) -> None:
    corpus = Corpus()
    expected = {}
    for task in ("summary", "cause", "risk"):
        for text in (None, "", "  "):
            incident = f"{task} {text!r}"
            corpus.incident(incident, answers={"gpt-4o-mini": {task: text}})
            expected[incident] = EVERY_ANSWER - {(task, "gpt-4o-mini")}
    out = as_tables(corpus, tmp_path)
    assert table(out, "rejects") == []
    assert answered(out) == expected


def test_a_bare_text_is_a_summary_and_no_cause(tmp_path: Path) -> None:
    corpus = Corpus().incidents("ab")
    text = answer("summary", "a", "somebody")
    corpus.rows[SUMMARIES][0][FIELDS["gpt-4o"][0]] = text
    corpus.rows[CAUSE_RISK][1][FIELDS["gpt-4o-mini"][1]] = answer("cause", "b", "somebody")
    out = emitted(corpus.write(tmp_path / "source"), tmp_path / "out")
    assert table(out, "rejects") == []
    actual = {(r["incident_id"], r["task"], r["model"]): r["text"] for r in table(out, "responses")}
    assert actual["a", "summary", "gpt-4o"] == text
    assert ("b", "cause", "gpt-4o-mini") not in actual
    assert ("b", "risk", "gpt-4o-mini") not in actual
    emitted_records = [*records(out, "train"), *records(out, "eval")]
    assert text in {record["messages"][-1]["content"] for record in emitted_records}


def test_sub_scores_may_be_missing(tmp_path: Path) -> None:
    cause = {
        "gpt-4o": {"total": 27, "evidence_grounding": 9, "cause_specificity": None},
        "gpt-4o-mini": {"total": 24},
    }
    risk = {
        "gpt-4o": {"total": 20, "risk_calibration": 7, "actionability": 6, "business_impact": 7.0},
        "gpt-4o-mini": None,
    }
    corpus = Corpus().incident("a", cause=cause, risk=risk)
    out = as_tables(corpus, tmp_path)
    assert table(out, "rejects") == []
    actual = {(row["task"], row["model"]): row for row in table(out, "judgements")}
    assert ("risk", "gpt-4o-mini") not in actual
    first = actual["cause", "gpt-4o"]
    assert (first["score"], first["evidence_grounding"]) == (27, 9)
    assert first["cause_specificity"] is None
    assert first["alternative_hypotheses"] is None
    assert actual["cause", "gpt-4o-mini"]["evidence_grounding"] is None
    whole = actual["risk", "gpt-4o"]
    parts = [whole[part] for part in ("risk_calibration", "actionability", "business_impact")]
    assert parts == [7, 6, 7]


SPELLINGS = {
    spelling: name
    for name, model in recipes.load("unified-v2").models.items()
    for spelling in model.spellings
}


def test_the_spellings_of_the_real_judges_are_declared() -> None:
    real = {
        "GPT-4o": "gpt-4o",
        "GPT-4o-mini": "gpt-4o-mini",
        "Qwen2.5": "qwen2.5-1.5b",
        "Qwen2.5 1.5B": "qwen2.5-1.5b",
        "Qwen2.5 3b": "qwen2.5-3b",
        "Qwen2.5 3B": "qwen2.5-3b",
    }
    assert real.items() <= SPELLINGS.items()


def test_every_declared_spelling_is_its_model(tmp_path: Path) -> None:
    corpus = Corpus()
    for i, spelling in enumerate(SPELLINGS):
        best = {spelling: 8, "gpt-4o" if SPELLINGS[spelling] != "gpt-4o" else "gpt-4o-mini": 7}
        totals = {model: 3 * score for model, score in best.items()}
        corpus.incident(f"{i:02}", summary_scores=best, cause=totals, risk=totals)
    out = emitted(corpus.write(tmp_path / "source"), tmp_path / "out")
    assert table(out, "rejects") == []
    judged = {
        (row["incident_id"], row["task"]): (row["model"], row["rank"], row["position"])
        for row in table(out, "judgements")
        if row["rank"] == 1
    }
    won: dict[str, set[tuple[str, str]]] = {}
    for record in [*records(out, "train"), *records(out, "eval")]:
        won.setdefault(record["incident_id"], set()).add((record["task"], record["model"]))
    for i, name in enumerate(SPELLINGS.values()):
        tasks = ("summary", "cause", "risk")
        assert [judged[f"{i:02}", task] for task in tasks] == [(name, 1, 1)] * 3
        assert won[f"{i:02}"] == {(task, name) for task in tasks}


# Borders and sizes


TRICKY: dict[str, Any] = {
    "text": 'é € 𝄞 😀 "quoted" \\ / \b\f\n\r\t \u2028 \u0000 \ufeff end',
    "numbers": [0, -0.0, 12, -12, 1.5, -1.5e-10, 1.25e10, 1e300, 12345678901234567890],
    "literals": [True, False, None],
    "nested": {"": {"é𝄞": [[], {}, [{}]]}, "[{": "]}"},
}


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_border_of_pieces_may_fall_on_any_byte(ascii_only: bool, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    text = json.dumps(TRICKY, ensure_ascii=ascii_only, indent=1).encode()
    for border in range(len(text) + 3):
        head = b'[{"pad":"'
        pad = head + b"x" * (PIECE - border - len(head) - 3) + b'"},'
        path.write_bytes(pad + text + b"]")
        source = Source(path)
        records_read = list(source)
        assert records_read[1].value == TRICKY, border
        assert records_read[1].text.encode() == text
        assert source.rows == 2


@pytest.mark.usefixtures("small_pieces")
def test_a_border_may_fall_on_any_byte_beside_the_array(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    text = (
        '"a": -12.5e+3, "b": true, "\\u00e9": null, "c" : 12345, "incidents": [{"d": 1}], "e": 67}'
    )
    for border in range(len(text) + 3):
        head = '{"pad":"'
        path.write_text(head + "x" * (PIECE - border - len(head) - 2) + '",' + text)
        assert read(path) == [{"d": 1}], border


@pytest.mark.usefixtures("small_pieces")
@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ("-Infinity", "-Infinity"),
        ("NaN", "NaN"),
        (r'"\ud83d"', "surrogate"),
        (r'"\ud83d\u0041"', "surrogate"),
        ("truf", "not JSON"),
        ("1.e5", "not JSON"),
        ("-", "not JSON"),
        ('"\x01"', "not JSON"),
        (r'"\q"', "not JSON"),
    ],
)
def test_a_border_hides_nothing(wrong: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    for border in range(len(wrong) + 12):
        element = '{"a": ' + wrong + ', "b": 1}'
        head = '[{"pad":"'
        pad = head + "x" * (PIECE - border - len(head) - 3) + '"},'
        path.write_text(pad + element + "]")
        message = fault(path)
        assert says in message, border
        assert "row 2" in message
        place = int(re.search(r"byte (\d+)", message)[1])
        assert len(pad) <= place <= len(pad) + len(element)


def test_an_element_may_be_larger_than_many_pieces(tmp_path: Path) -> None:
    large = {"text": "é𝄞x" * (CHUNK // 2), "list": ["ü€"] * 100_000, "end": -1.5}
    rows = [{"a": 1}, large, {"b": 2}, large]
    for name, ascii_only in (("a.json", True), ("b.json", False)):
        path = tmp_path / name
        path.write_text(json.dumps(rows, ensure_ascii=ascii_only), encoding="utf-8")
        assert path.stat().st_size > 6 * CHUNK
        assert read(path) == rows


def test_a_large_element_goes_through_to_the_records(tmp_path: Path) -> None:
    lines = "".join(f"10:{i % 60:02} - é𝄞 connection {i % 97} of a scan\n" for i in range(40_000))
    corpus = Corpus().incident("a", dag=lines).incident("b")
    out = emitted(corpus.write(tmp_path / "source", ascii_only=False), tmp_path / "out")
    assert next(r for r in table(out, "dags") if r["incident_id"] == "a")["text"] == lines


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    row = json.dumps({"incident_id": "a", "text": "x" * 4000})
    path = tmp_path / "x.json.gz"
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.write("[" + row + f",{row}" * 8_000 + "]")
    tracemalloc.start()
    try:
        assert sum(1 for _ in Source(path)) == 8_001
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 * CHUNK  # the text is 32 MiB


# Laws

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # what a reader that looks for quotes, brackets or escapes could trip over
    | TEXT
    | st.sampled_from(['"', "\\", '\\"', "[{", "}]", "NaN", "\\ud800", "\ufeff", "😀", "\u2028"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
DOCUMENTS = st.lists(st.dictionaries(TEXT, VALUES, max_size=5), max_size=5)


@contextmanager
def written(data: bytes, name: str = "x.json") -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        yield path


def composed(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object with its keys composed, none of which is then there twice."""
    value = {unicodedata.normalize("NFC", key): value for key, value in pairs}
    assume(len(value) == len(pairs))
    return value


@given(
    rows=DOCUMENTS,
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 0, 2, "\t"]),
    bom=st.booleans(),
    gzipped=st.booleans(),
    before=st.none()
    | st.dictionaries(TEXT.filter(lambda key: key not in ("incidents", "synthetic")), VALUES),
    mark=st.none() | st.booleans(),
    mark_first=st.booleans(),
)
@examples(150)
def test_reading_gives_what_the_standard_library_gives(
    rows: list[dict[str, Any]],
    ascii_only: bool,
    indent: Any,
    bom: bool,
    gzipped: bool,
    before: dict[str, Any] | None,
    mark: bool | None,
    mark_first: bool,
) -> None:
    said = {} if mark is None else {"synthetic": mark}
    marks = (said, {}) if mark_first else ({}, said)
    content = rows if before is None else {**before, **marks[0], "incidents": rows, **marks[1]}
    text = json.dumps(content, ensure_ascii=ascii_only, indent=indent).encode()
    data = b"\xef\xbb\xbf" * bom + text
    with written(gzip.compress(data) if gzipped else data, f"x.json{'.gz' * gzipped}") as path:
        source = Source(path)
        records_read = list(source)
    expected = json.loads(text, object_pairs_hook=composed)
    expected = expected if before is None else expected["incidents"]
    assert [record.value for record in records_read] == expected
    assert repr([record.value for record in records_read]) == repr(expected)  # 1 is not 1.0 or true
    texts = [json.loads(record.text, object_pairs_hook=composed) for record in records_read]
    assert texts == expected
    assert source.synthetic is (before is not None and mark is True)
    assert [record.row for record in records_read] == list(range(1, len(rows) + 1))
    assert source.rows == len(rows)
    assert all(record.repeated_key is None for record in records_read)


@given(
    data=st.binary(max_size=40) | st.text(max_size=40).map(lambda s: s.encode("utf-8", "replace"))
)
@example(data=b"[" * 3)
@examples(200)
def test_any_bytes_are_read_as_the_standard_library_does_or_refused(data: bytes) -> None:
    with written(data) as path:
        found, said = outcome(path)
    if found is None:
        assert said.startswith(str(path))
        return
    value = json.loads(data.decode("utf-8-sig"))
    assert found == (value["incidents"] if isinstance(value, dict) else value)


SMALL = json.dumps(
    [{"incident_id": "é𝄞", "a": [1.5, -2e10, True, None]}, {"b": {"c": '\\"'}}], ensure_ascii=False
)


@pytest.mark.parametrize("text", [SMALL, f'{{"x": {{"y": "]"}}, "incidents": {SMALL}, "z": 0}}'])
def test_a_file_cut_at_any_byte_is_refused(text: str, tmp_path: Path) -> None:
    for name, data in (("x.json", text.encode()), ("x.json.gz", gzip.compress(text.encode()))):
        path = tmp_path / name
        for length in range(len(data)):
            path.write_bytes(data[:length])
            assert fault(path).startswith(str(path)), length
        path.write_bytes(data)
        assert len(read(path)) == 2


@given(data=st.data())
@examples(40)
def test_a_set_cut_anywhere_is_refused_and_earlier_outputs_stand(
    cut_anywhere: tuple[Path, Path], data: st.DataObject
) -> None:
    source, out = cut_anywhere
    before = digests(out)
    path = data.draw(st.sampled_from(sorted(source.iterdir())))
    whole = path.read_bytes()
    length = data.draw(st.integers(0, len(whole) - 1))
    try:
        path.write_bytes(whole[:length])
        assert emit.main(["--source", str(source), "--data", str(out), "--json"]) == 2
    finally:
        path.write_bytes(whole)
    assert digests(out) == before


@pytest.fixture(scope="module")
def cut_anywhere(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("cut")
    source = Corpus().incident("a").incident("b", run=RUN_2).write(folder / "source")
    return source, emitted(source, folder / "out")


@pytest.mark.parametrize("name", [SUMMARIES, CAUSE_RISK])
def test_a_real_file_with_bytes_changed_is_refused_or_every_row_is_accounted_for(
    name: str, real_source: Path, tmp_path: Path
) -> None:
    rng = random.Random(5)
    rows = json.loads(gzip.decompress((real_source / f"{name}.gz").read_bytes()))
    rows = sorted(rows, key=lambda row: len(json.dumps(row)))[:6]
    text = json.dumps(rows, indent=1).encode()
    path = tmp_path / name
    outcomes = set()
    for _ in range(300):
        mutated = bytearray(text)
        for _ in range(rng.randint(1, 3)):
            mutated[rng.randrange(len(mutated))] = rng.choice(b'"\\{}[]:,0N \xff\n')
        path.write_bytes(mutated)
        found, said = outcome(path)
        outcomes.add(found is None)
        if found is None:
            assert said.startswith(str(path))
        else:
            assert found == json.loads(mutated.decode())
    assert outcomes == {True, False}


def test_what_was_read_is_what_was_hashed(tmp_path: Path) -> None:
    for name, data in (("x.json", ROWS.encode() + b"\n \n"), ("x.json.gz", GZIP)):
        path = tmp_path / name
        path.write_bytes(data)
        source = Source(path)
        assert len(list(source)) == 3
        assert source.sha256 == hashlib.sha256(data).hexdigest()
        assert source.bytes == len(data)


def test_nothing_is_left_of_a_refused_first_run(tmp_path: Path) -> None:
    source = Corpus().incidents("ab").write(tmp_path / "source")
    (source / CAUSE_RISK_RUN).write_text("[")
    out = tmp_path / "out"
    assert emit.main(["--source", str(source), "--data", str(out)]) == 2
    assert not out.exists()
    shutil.rmtree(source)
    assert emit.main(["--source", str(source), "--data", str(tmp_path / "other")]) == 2
    assert not (tmp_path / "other").exists()
