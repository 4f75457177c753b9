"""A plain reading of what a text names, which shares nothing with the patterns of `names.py`.

It sees only what stands clearly: words between blanks and marks that are an address, a hash … as a
whole, and numbers right after the word for ports or for totals. What it sees in an answer must be
somewhere in what was shown, with nothing of a word or a number around it.
"""

from __future__ import annotations

from collections.abc import Iterator

DIGITS, HEX = set("0123456789"), set("0123456789abcdef")
LETTERS = HEX | set("abcdefghijklmnopqrstuvwxyz_")
ENDINGS = {"com", "net", "org", "ru", "cn", "io", "de", "test", "example", "local", "arpa"}
SEVERITIES = {"critical", "high", "medium", "low", "info"}


def named(text: str) -> Iterator[tuple[str, str]]:
    """What stands clearly in a text, as its kind and the name."""
    text = "".join(character if character.isascii() else "!" for character in text.lower())
    for tag in SEVERITIES:
        if f"[{tag}]" in text:
            yield "severity_tag", f"[{tag}]"
    for heading in ("total evidence: ", "total events: "):
        before, *others = text.split(heading)
        for rest in others:
            number, stands_alone = _leading(rest, DIGITS), before[-1:] not in LETTERS
            before = rest
            if number and stands_alone and rest[len(number) : len(number) + 1] not in {","}:
                yield "event_total", number
    for heading in (" port ", " ports "):
        for rest in f" {text}".split(heading)[1:]:
            number = _leading(rest, DIGITS)
            after = rest[len(number) : len(number) + 1]
            if 0 < len(number) < 6 and after not in LETTERS:
                yield "port", number
    for mark in ",;()[]{}<>\"'`*|=!?\n\t\r":
        text = text.replace(mark, " ")
    for word in text.split(" "):
        yield from _of_word(word)


def _of_word(word: str) -> Iterator[tuple[str, str]]:
    numbers = word.split(".")
    if len(numbers) == 4 and all(set(of) <= DIGITS and 0 < len(of) < 4 for of in numbers):
        yield "address", word
    pairs = word.replace("-", ":").split(":")
    if len(pairs) == 6 and all(len(of) == 2 and set(of) <= HEX for of in pairs):
        yield from [("mac", word)] if (":" in word) != ("-" in word) else []
    groups = word.split(":")
    if len(groups) == 8 and all(0 < len(of) < 5 and set(of) <= HEX for of in groups):
        yield "address", word
    if len(word) in (32, 40, 64) and set(word) <= HEX:
        yield "hash", word
    if word[:3] == "sbl" and word[3:] and set(word[3:]) <= DIGITS:
        yield "list_id", word
    labels = word.split(".")
    if len(labels) > 1 and labels[-1] in ENDINGS and all(map(_is_label, labels)):
        yield "domain", word


def _is_label(text: str) -> bool:
    """A label of a host's name ends with a letter or a digit (RFC 1123, section 2.1)."""
    ends_well = len(text) == 1 or not text.endswith("_")
    return 0 < len(text) < 60 and set(text) <= LETTERS and ends_well


def _leading(text: str, characters: set[str]) -> str:
    length = 0
    while length < len(text) and text[length] in characters:
        length += 1
    return text[:length]


def lacking(answer: str, shown: str) -> list[tuple[str, str]]:
    """What an answer clearly names and nowhere in `shown` stands.

    A total stands there with the commas of its thousands, too.
    """
    shown = shown.lower()
    texts = {"event_total": (shown, shown.replace(",", ""))}
    return [
        (kind, name)
        for kind, name in named(answer)
        if not any(_stands_in(name, text) for text in texts.get(kind, (shown,)))
    ]


def _stands_in(name: str, text: str) -> bool:
    at = text.find(name)
    while at >= 0:
        before, after = text[at - 1 : at] if at else "", text[at + len(name) : at + len(name) + 1]
        if name[0] == "[" or not {before, after} & LETTERS:
            return True
        at = text.find(name, at + 1)
    return False
