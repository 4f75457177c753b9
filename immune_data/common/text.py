"""Text for a reader: any text of a dataset in, text that is safe and short enough to show out."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches

# Control characters would move the cursor or colour the terminal; bidirectional and zero-width
# ones would make a text look like another one. Tabs and line ends stay.
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\U000e0000-\U000e0fff]"
)


def visible(text: str) -> str:
    """`text` with every invisible character written out, as `\\u200b`."""
    return UNSEEN.sub(lambda match: _escaped(match[0]), text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def one_line(text: str, limit: int | None = None) -> str:
    """`text` on one line, all of it visible, cut after `limit` characters."""
    if limit is not None:
        text = text[: limit + 1]
    line = visible(text.replace("\\", "\\\\") if "\n" in text else text)
    line = line.replace("\n", "\\n").replace("\t", "\\t")
    if limit is not None and len(line) > limit:
        line = line[: limit - 1] + "…"
    return line


def excerpt(text: str, limit: int) -> str:
    """The beginning of a text, with its line ends: at most `limit` characters, in whole words."""
    if len(text) <= limit:
        return text
    return f"{_whole_words(text[: limit - 1], text[limit - 1])}…"


def _whole_words(text: str, following: str) -> str:
    """`text` without its last word if `following` continues it, unless there is no other word."""
    if following.isspace() or text[-1:].isspace():
        return text.rstrip()
    words = text.rsplit(None, 1)
    return words[0] if len(words) == 2 else text


def split_middle(lines: list[str], head: int, tail: int) -> tuple[list[str], int, list[str]]:
    """The first lines, the number of lines left out after them, and the last lines."""
    hidden = len(lines) - head - tail
    if hidden <= 1:  # the line that says so would be as long as the one it hides
        return lines, 0, []
    return lines[:head], hidden, lines[len(lines) - tail :]


def without_middle(line: str, limit: int) -> str:
    """A line whose middle is left out if it has more than `limit` characters."""
    if len(line) <= limit:
        return line
    half = limit // 2
    first = _whole_words(line[:half], line[half])
    last = _whole_words(line[-half:][::-1], line[-half - 1])[::-1]
    hidden = len(line) - len(first) - len(last)
    return f"{first} … {hidden:,} characters … {last}"


def suggestion(name: str, known: Iterable[str], otherwise: str, *, most: int = 1) -> str:
    """The known names closest to an unknown one: `did you mean train or trial?`"""
    close = get_close_matches(name, list(known), n=most, cutoff=0.5)
    return f"did you mean {' or '.join(close)}?" if close else otherwise


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number of things: `1 row`, `1,200 rows`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def are(number: float, singular: str = "is", plural: str = "are") -> str:
    """The verb, or another word, that goes with a number: `1 row is`, `2 rows are`."""
    return singular if number == 1 else plural
