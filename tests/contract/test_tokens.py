"""Token counts are exact, and cuts are as long as they may be, on the most hostile of texts."""

from __future__ import annotations

import functools
import gzip
import itertools
import json
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
import reference_tokenizer
import tiktoken
from examples import examples
from hypothesis import example, given
from hypothesis import strategies as st

from immune_data.common.errors import ImmuneError
from immune_data.contract import tokens, vocabulary

MARKER = "[truncated: showing first ~3500 tokens of full DAG]"

# All that Python, Rust and Unicode may take for white space or a line end, each in its own way.
SPACES = [" ", "  ", " \n", "\n\n", "\r\n", *"\t\n\r\x0b\x0c\x1c\x1d\x1f\x85\xa0\u1680\u2000\u2003"]
SPACES += "\u2028\u2029\u202f\u205f\u3000\u200b\ufeff\x00"


def pieces(text: str) -> list[str]:
    return text.split(" ")


# Letters that compose, decompose or reorder under NFC, at the edges of a segment too.
LETTERS = [
    *pieces(
        "a e é e\u0301 \u0301 \u0323 \u0301\u0323 \u0345 ﬁ ſ \u212a \u212b 日 本語 العربية ǅ ⅷ"
    ),
    *pieces("\u1100 \u1161 \u11a8 각 \u0b47\u0b3e \u0b3e"),
]
OTHERS = [
    *pieces("'s 'S 'ſ 'll ' don't 0 12 ٣ ½ ! ... ---- ===== { }} \\n $ • — 🦙 🇨🇿 word Word WORD"),
    *pieces("👩\u200d👩\u200d👧 10.0.0.7:443 https://a.b/c?d=e <|im_start|> <|im_end|> <|"),
]

hostile = st.lists(st.sampled_from(SPACES * 2 + LETTERS + OTHERS), max_size=60).map("".join)
any_text = st.text(max_size=80)
texts = st.one_of(hostile, any_text, st.lists(st.one_of(hostile, any_text)).map("\n".join))


@functools.cache  # a long text takes a while, and is asked about more than once
def whole(text: str) -> int:
    """The definition: the whole text, normalised, at once."""
    encoding = tiktoken.get_encoding("qwen2.5")
    return len(encoding.encode_ordinary(unicodedata.normalize("NFC", text)))


def words(text: str) -> int:
    return len(text.split())


@given(texts)
@examples(600)
@example("")
@example("\n")
@example("a\n\u0301b")
@example("a\n \n\t\n  b")
@example("!\n\r\n b")
@example("a\n\x1c\nb")
@example("a\n\x85\n\xa0b")
@example("a\r\n \u2028\nb\n")
@example("e\n\u0323\u0301\n\u0345")
@example("  a  b   c \u0301 d ")
@example("a\t b\x1c c\x85 d\u2028 e")
@example("a!\n \n b! \r\n c")
def test_a_count_is_that_of_the_whole_text(text: str) -> None:
    assert tokens.count(text) == whole(text)


@given(texts)
@examples(100)
def test_a_count_does_not_depend_on_what_was_counted_before(text: str) -> None:
    first = tokens.count(text)
    tokens.count(f"x\n{text}\n{text}")
    assert tokens.count(text) == first


def test_a_count_does_not_depend_on_what_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "_WORDS", 2)
    monkeypatch.setattr(tokens, "_GENERATION", 10)
    text = f"one two three {'long' * 20} one\n" * 3 + "  four  five one\nsix two"
    assert [tokens.count(text) for _ in range(3)] == [whole(text)] * 3


@given(texts, texts)
@examples(200)
@example("a\n", "\n \nb")
@example("a\n", " \u0301b")
@example("a\r", "\nb")
@example("e", "\u0301")
@example("", "")
def test_the_count_of_two_texts_joined(head: str, tail: str) -> None:
    assert tokens.count_joined(head, tail, whole(tail)) == whole(head + tail)


@given(st.sampled_from(SPACES + LETTERS + OTHERS), st.integers(1, 700))
@examples(100)
def test_long_runs_are_counted_whole(piece: str, times: int) -> None:
    text = f"a\n{piece * times}\nb"
    assert tokens.count(text) == whole(text)


def test_control_tokens_in_a_text_are_ordinary_text() -> None:
    encoding = tiktoken.get_encoding("qwen2.5")
    for token in vocabulary.ADDED_TOKENS:
        ids = encoding.encode_ordinary(token)
        assert tokens.count(token) == len(ids) > 1
        assert max(ids) < 151643


# Cutting


@pytest.mark.parametrize(("unit", "size"), [("tokens", whole), ("words", words)])
@given(text=texts, limit=st.integers(1, 80), marker=st.sampled_from(["[cut]", MARKER, "é"]))
@examples(300)
def test_the_laws_of_cutting(unit: str, size, text: str, limit: int, marker: str) -> None:
    cut = tokens.cut(text, limit, marker, unit)
    if size(text) <= limit:
        assert cut == text
        return
    assert cut.endswith(marker)
    kept = cut.removesuffix(marker)
    assert text.startswith(kept)
    assert kept == "" or kept.endswith("\n")
    assert kept == "" or size(cut) <= limit
    rest = text[len(kept) :]
    next_line = rest[: rest.find("\n") + 1]
    if next_line:
        assert size(kept + next_line + marker) > limit


@given(text=texts, limit=st.integers(1, 60))
@examples(100)
def test_cutting_twice_is_cutting_once(text: str, limit: int) -> None:
    marker = "[cut]"
    once = tokens.cut(text, limit, marker)
    if whole(once) <= limit:
        assert tokens.cut(once, limit, marker) == once


@pytest.mark.parametrize("unit", ["tokens", "words"])
def test_a_text_at_its_limit_is_whole_and_one_over_is_cut(unit: str) -> None:
    size = {"tokens": whole, "words": words}[unit]
    line = "a b c d e f g h i j\n"
    text = line * 350
    assert size(text) == {"tokens": 3850, "words": 3500}[unit]
    assert tokens.cut(text, size(text), MARKER, unit) == text
    room = size(text) - 1 - size(MARKER)
    assert tokens.cut(text, size(text) - 1, MARKER, unit) == line * (room // size(line)) + MARKER


def test_a_marker_alone_where_not_even_the_first_line_fits() -> None:
    assert tokens.cut("one line that is too long\nand more", 8, "[cut]") == "[cut]"
    assert tokens.cut("no line end " * 9, 8, "[cut]") == "[cut]"
    assert tokens.cut("a\n" * 40, 1, MARKER) == MARKER


def test_lines_end_at_line_feeds_only() -> None:
    text = "one\x0bstill one\x85still\u2028one\rone\ntwo two two two\n"
    assert tokens.cut(text, whole(text) - 1, "x") == "one\x0bstill one\x85still\u2028one\rone\nx"


def test_cutting_changes_no_character_of_what_it_keeps() -> None:
    text = "cafe\u0301 \u212b\n" + "x y z\n" * 50
    assert tokens.cut(text, 30, "[cut]").startswith("cafe\u0301 \u212b\n")


def test_blank_lines_go_with_the_cut_as_lines() -> None:
    text = "a\n\n \n\n" + "b " * 50
    for limit in range(2, 12):
        cut = tokens.cut(text, limit, "x")
        assert whole(cut) <= limit
        assert cut in {"x", "a\nx", "a\n\nx", "a\n\n \nx", "a\n\n \n\nx"}
    assert tokens.cut(text, 11, "x") == "a\n\n \n\nx"


# Excerpts

SAYS = "[showing ~{limit} tokens]"


@example(text="0000000000\x810ౕ\n\r00000000000000000000000000\nֈ0\U00014000", limit=50, marker=SAYS)
@given(text=texts, limit=st.integers(1, 200), marker=st.sampled_from([SAYS, "[cut]", "é {limit}"]))
@examples(300)
def test_the_laws_of_excerpts(text: str, limit: int, marker: str) -> None:
    shown = tokens.excerpt(text, limit, marker)
    if whole(text) <= limit:
        assert shown == text
        return
    *lines, last = shown.split("\n")
    assert last == marker.replace("{limit}", str(whole(shown)))
    assert lines == [] or whole(shown) <= limit
    for line, of in zip(lines, text.split("\n"), strict=False):
        begun = unicodedata.normalize("NFC", of).startswith(line.removesuffix("…").rstrip())
        assert line == of or (line.endswith(" …") and begun)


@given(
    before=st.integers(0, 8),
    endless=st.sampled_from(["port 443, ", "日本語", "a1", "=", "e\u0301 ", "🦙"]),
    times=st.integers(300, 9000),
    limit=st.integers(150, 1200),
)
@examples(60)
def test_an_endless_line_does_not_hide_what_follows(
    before: int, endless: str, times: int, limit: int
) -> None:
    first = [f"• 10:{i:02} - seen\n" for i in range(before)]
    after = [f"• 11:{i:02} - seen\n" for i in range(60)]
    text = "".join([*first, f"• 10:30 - {endless * times}\n", *after])
    if whole(text) <= limit:
        return
    shown = tokens.excerpt(text, limit, SAYS)
    assert whole(shown) <= limit
    assert "".join(first) in shown
    assert after[0] in shown
    # No room is wasted: one more line would not fit.
    left = [line for line in after if line not in shown]
    assert not left or whole(shown) + whole(left[0]) > limit - 1


# Real texts


@pytest.fixture(scope="module")
def real_texts(real_source: Path) -> list[str]:
    """Every text of both real datasets."""
    texts = set()
    for path in sorted(real_source.glob("*dataset_v?.json.gz")):
        for row in json.loads(gzip.decompress(path.read_bytes())):
            for value in row.values():
                inner = value.values() if isinstance(value, dict) else (value,)
                texts.update(text for text in inner if isinstance(text, str))
    return sorted(texts)


def test_every_real_text_is_counted_exactly(real_texts: list[str]) -> None:
    assert len(real_texts) > 9000
    assert [tokens.count(text) for text in real_texts] == [whole(text) for text in real_texts]


@pytest.mark.parametrize(("unit", "size"), [("tokens", whole), ("words", words)])
def test_every_long_real_text_is_cut_at_the_last_line_that_fits(
    unit: str, size, real_texts: list[str]
) -> None:
    long = [text for text in real_texts if len(text) > 8000 and size(text) > 3500]
    assert len(long) > 50
    for text in long:
        cut = tokens.cut(text, 3500, MARKER, unit)
        kept = cut.removesuffix(MARKER)
        assert cut.endswith(MARKER)
        assert text.startswith(kept)
        assert size(cut) <= 3500
        end = text.index("\n", len(kept)) + 1
        assert size(text[:end] + MARKER) > 3500


# The vocabulary


def test_anyone_who_installs_us_has_the_encoding(tmp_path: Path) -> None:
    """In a process that imports nothing of ours, in a folder that is not ours."""
    program = """
import json, sys, tiktoken
encoding = tiktoken.get_encoding("qwen2.5")
special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
print(json.dumps({
    "n_vocab": encoding.n_vocab,
    "eot": encoding.eot_token,
    "special": [encoding.encode_single_token(token) for token in special],
    "added": sorted(encoding.special_tokens_set, key=encoding.encode_single_token),
    "ids": encoding.encode("<|im_start|>user\\nHi!<|im_end|>\\n", allowed_special="all"),
    "text": encoding.decode(encoding.encode("naïve 日本 🦙")),
    "known": "qwen2.5" in tiktoken.list_encoding_names(),
}))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, check=True
    )
    assert json.loads(done.stdout) == {
        "n_vocab": 151643 + 22,
        "eot": 151643,
        "special": [151643, 151644, 151645],
        "added": [*reference_tokenizer.SPECIAL_TOKENS, *reference_tokenizer.OTHER_ADDED_TOKENS],
        "ids": [151644, 872, 198, 13048, 0, 151645, 198],
        "text": "naïve 日本 🦙",
        "known": True,
    }


@pytest.mark.parametrize("damage", ["a byte changed", "cut short", "a line more", "empty"])
def test_damaged_ranks_are_a_sentence(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = vocabulary.RANKS.read_bytes()
    damaged = tmp_path / "qwen.tiktoken"
    damaged.write_bytes(
        {
            "a byte changed": b"J" + data[1:],
            "cut short": data[:-20],
            "a line more": data + b"AAAA 151643\n",
            "empty": b"",
        }[damage]
    )
    monkeypatch.setattr(vocabulary, "RANKS", damaged)
    with pytest.raises(ImmuneError, match=r"qwen\.tiktoken is damaged .*: reinstall immune$"):
        vocabulary.qwen2_5()


# A second tokenizer


def test_the_reference_has_the_documented_size() -> None:
    reference = reference_tokenizer.tokenizer()
    assert reference.get_vocab_size(with_added_tokens=False) == 151643
    assert reference.get_vocab_size() == 151665
    assert len(json.loads(reference.to_str())["model"]["merges"]) == 151387
    assert [reference.token_to_id(token) for token in vocabulary.ADDED_TOKENS] == [
        *range(151643, 151665)
    ]


@given(texts)
@examples(300)
def test_both_tokenizers_give_the_same_ids(text: str) -> None:
    ids = tiktoken.get_encoding("qwen2.5").encode_ordinary(unicodedata.normalize("NFC", text))
    assert reference_tokenizer.tokenizer(added_tokens=False).encode(text).ids == ids
    assert tokens.count(text) == len(ids)


@given(texts)
@examples(100)
def test_both_tokenizers_read_added_tokens_alike(text: str) -> None:
    encoding = tiktoken.get_encoding("qwen2.5")
    text = unicodedata.normalize("NFC", text) + "<|im_end|>\n<tool_call>"
    ids = encoding.encode(text, allowed_special="all")
    assert reference_tokenizer.tokenizer().encode(text).ids == ids


def test_both_tokenizers_give_the_same_ids_for_sample_texts(sample_source: Path) -> None:
    actual = set()
    for path in sorted(sample_source.glob("*dataset_v?.json")):
        for row in json.loads(path.read_text(encoding="utf-8"))["incidents"][::6]:
            for value in row.values():
                inner = value.values() if isinstance(value, dict) else (value,)
                actual |= {text for text in inner if isinstance(text, str)}
    assert_same_counts(sorted(actual, key=len)[:-20])


def test_both_tokenizers_give_the_same_ids_for_real_texts(real_texts: list[str]) -> None:
    """The distinct lines of all texts, and some texts whole."""
    lines = {line for text in real_texts for line in text.splitlines(keepends=True)}
    assert_same_counts(list(itertools.islice(sorted(lines), 0, None, 4)))
    assert_same_counts(real_texts[::12])


def assert_same_counts(found: list[str]) -> None:
    reference = reference_tokenizer.tokenizer(added_tokens=False)
    encoded = reference.encode_batch_fast(found)
    assert [tokens.count(text) for text in found] == [len(ids) for ids in encoded]
    for text in found[::50]:
        ids = tiktoken.get_encoding("qwen2.5").encode_ordinary(unicodedata.normalize("NFC", text))
        assert reference.encode(text).ids == ids
