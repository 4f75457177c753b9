"""A text file may begin with a byte-order mark, end lines as Windows does and hold decomposed
letters: what comes of it is the same."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corpus import CAUSE_RISK, CAUSE_RISK_RUN, FIELDS, RUN_1, SUMMARIES, Corpus, records
from hypothesis import given
from hypothesis import strategies as st

from immune_data import recipes, sql
from immune_data.audit import __main__ as audit
from immune_data.common import textfile
from immune_data.common.errors import ImmuneError
from immune_data.emit import __main__ as emit

Form = Callable[[str], bytes]

# How an editor may save a text.
FORMS: dict[str, Form] = {
    "mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "windows": lambda text: text.replace("\n", "\r\n").encode(),
    "decomposed": lambda text: unicodedata.normalize("NFD", text).encode(),
    "all": lambda text: (
        b"\xef\xbb\xbf" + unicodedata.normalize("NFD", text.replace("\n", "\r\n")).encode()
    ),
}

# Non-ASCII wherever a recipe and its sources meet: a file's name, a field, a model, a spelling, the
# marker and the prompts.
FIELD, MODEL, SPELLING = "réponses_modèle", "modèle-é", "Modèle É"
RECIPE = f"""\
description = "à nous"
extends = "unified-v2"
prompts = "prompts"

[sources]
summaries = "résumés.json"

[models."gpt-4o"]
summaries = "{FIELD}"
spellings = ["GPT-4o", "{SPELLING}"]

[dag]
limit = 20
marker = "[coupé après {{limit}}]"
"""
PROMPT = "Réponds:\n{evidence}\nÀ toi: ñ, Å, 한국어.\n"


def write(folder: Path, form: Form) -> tuple[Path, Path]:
    """A source folder and a recipe with its prompts, each file in that form."""
    source = folder / "source"
    corpus = Corpus().incidents("abcdef")
    for row in corpus.rows[SUMMARIES]:
        row[FIELD] = row.pop(FIELDS["gpt-4o"][0])
    for name in (RUN_1, CAUSE_RISK_RUN):
        corpus.rows[name] = [_spelt(row) for row in corpus.rows[name]]
    source.mkdir(parents=True)
    for name in (SUMMARIES, CAUSE_RISK, RUN_1, CAUSE_RISK_RUN):
        text = json.dumps(corpus.rows[name], ensure_ascii=False, indent=1)
        final = "résumés.json" if name == SUMMARIES else name
        (source / form(final).decode("utf-8-sig")).write_bytes(form(text))
    (folder / "prompts").mkdir()
    for task in ("summary", "cause", "risk"):
        (folder / "prompts" / f"{task}.user.txt").write_bytes(form(PROMPT))
    (folder / "mine.toml").write_bytes(form(RECIPE))
    return source, folder / "mine.toml"


def _spelt(value: Any) -> Any:
    if isinstance(value, dict):
        return {_spelt(key): _spelt(entry) for key, entry in value.items()}
    return SPELLING if value == "gpt-4o" else value


def emitted(folder: Path, form: Form) -> list[bytes]:
    """The records of both sides, from files that are all in that form."""
    source, recipe = write(folder, form)
    emit.emit(source, folder / "out", recipes.load(str(recipe)))
    files = folder / "out" / "sft" / "mine"
    return [(files / f"{side}.jsonl").read_bytes() for side in ("train", "eval")]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return emitted(tmp_path_factory.mktemp("plain"), str.encode)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_recipe_prompts_and_sources_gives_the_same_records(
    form: str, plain: list[bytes], tmp_path: Path
) -> None:
    assert emitted(tmp_path, FORMS[form]) == plain
    [first, *_] = records(tmp_path / "out", "train", "mine")
    assert first["model"] == "gpt-4o"
    asked = first["messages"][-2]["content"]
    assert "[coupé après 20]" in asked
    assert unicodedata.is_normalized("NFC", asked)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An emitted dataset, which tests only read."""
    folder = tmp_path_factory.mktemp("emitted")
    source = Corpus().incidents(["é-1", "é-2", "é-3", "é-4"]).write(folder / "source")
    emit.emit(source, folder / "out", recipes.load("unified-v2"))
    return folder / "out"


@pytest.mark.parametrize("form", FORMS)
def test_held_out_ids_and_queries(
    form: str, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [held, *_] = [record["incident_id"] for record in records(out, "train")]
    save = FORMS["mark"] if form in ("decomposed", "all") else FORMS[form]  # ids are exact
    (tmp_path / "ids.txt").write_bytes(save(f"{held}\n"))
    arguments = ["held_out_in_train", "--data", str(out), "--held-out", str(tmp_path / "ids.txt")]
    assert audit.main(arguments) == 1
    (tmp_path / "query.sql").write_bytes(FORMS[form]("-- été\nselect 42\nas answer;\n"))
    capsys.readouterr()
    assert sql.main([str(tmp_path / "query.sql"), "--data", str(out), "--csv"]) == 0
    assert capsys.readouterr().out == "answer\n42\n"


def test_two_forms_of_one_name_are_refused(tmp_path: Path) -> None:
    source, recipe = write(tmp_path, str.encode)
    (source / unicodedata.normalize("NFD", "résumés.json")).write_text("[]")
    with pytest.raises(ImmuneError, match="remove one of them"):
        emit.emit(source, tmp_path / "out", recipes.load(str(recipe)))


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\ufeff")))
def test_a_text_comes_back_as_it_was(text: str) -> None:
    assert textfile.decoded(text.encode(), "it") == text
    assert textfile.decoded(FORMS["mark"](text), "it") == text
    assert textfile.decoded(FORMS["windows"](text), "it") == text


@pytest.mark.parametrize("data", [b"abc\xe9", "abc".encode("utf-16"), b"\xff\xfe", b"\xc3"])
def test_what_is_not_utf_8_is_one_sentence(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "it.txt"
    path.write_bytes(data)
    with pytest.raises(ImmuneError, match=r"it\.txt is not UTF-8 \(byte \d\): save it as UTF-8"):
        textfile.read(path)
    with pytest.raises(ImmuneError, match=r"cannot read .*none: "):
        textfile.read(tmp_path / "none")
