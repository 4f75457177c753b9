"""Grammars that let only documented answers through: a task in, GBNF as llama.cpp reads it out.

The headings are those of the prompts and the levels those of `answer_fields`, so that whatever a
grammar lets through parses. Texts are bounded in length, which also ends an answer that would go
round in circles; the bounds are wider than the longest answer of the training data.

`rest` says of the beginning of an answer what it still needs, so that whoever writes it can see in
time that its room runs out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from immune_data.common.textfile import composed
from immune_data.contract import evidence
from immune_data.contract.answer_fields import LEVELS
from immune_data.contract.closing_lines import closing_lines
from immune_data.contract.tokens import text_ids

TASKS = ("risk", "cause")
"""The tasks whose grammar is the same for every incident; that of a summary holds its facts."""

BY_DEFAULT = ("risk",)
"""The tasks that use it unless told otherwise."""

# A text is a line of visible characters and spaces. It starts with none of the marks that stand
# between a heading and its text, so that something is left when those are taken off.
_HIDDEN = r"\x7F-\xA0\xAD\u200B-\u200F\u2028-\u202E\u2060-\u206F\uFEFF"
_FIRST = rf"[^\x00-\x20{_HIDDEN}\u1680\u2000-\u200A\u202F\u205F\u3000*_:;,.()…–—-]"
_CHARACTER = rf"[^\x00-\x1F{_HIDDEN}]"
_LONGEST = 2000  # characters of one text, the most that llama.cpp repeats anything
_BULLETS = 12
_PARAGRAPHS = 6

_RISK = """\
root ::= risk justification impact likelihood priority
risk ::= "**Risk Level:** " {risk} "\\n\\n"
justification ::= "**Justification:** " text "\\n\\n"
impact ::= "**Business Impact:** " text "\\n\\n"
likelihood ::= "**Likelihood of Malicious Activity:** " {likelihood} reason "\\n\\n"
priority ::= "**Investigation Priority:** " {priority} reason
reason ::= {between} text
text ::= {first} {character}{{0,{longest}}}
"""

_CAUSE = """\
root ::= "**Possible Causes:**\\n\\n" malicious legitimate misconfigured conclusion
malicious ::= ("**1. Malicious Activity:**" | "1. **Malicious Activity:**") list
legitimate ::= ("**2. Legitimate Activity:**" | "2. **Legitimate Activity:**") list
misconfigured ::= ("**3. Misconfigurations:**" | "3. **Misconfigurations:**") list
conclusion ::= "**Conclusion:** " text (("\\n" | "\\n\\n") text){{0,{paragraphs}}}
list ::= ("\\n" bullet){{1,{bullets}}} "\\n\\n"
bullet ::= "• " text
text ::= {first} {character}{{0,{longest}}}
"""

# Characters of what a bullet of a summary says; the longest known has 200. One that comes to be
# too long is brought to its end before that.
BULLET_LONGEST, TOO_LONG = 300, 260
_SUMMARY = """\
root ::= {header} "\\n\\n" bullet ("\\n" bullet){{0,{bullets}}} "\\n\\n" {closing}
bullet ::= "• " time (("-" | " - " | "–" | ", ") time){{0,31}} " - " text " [" {severity} "]"
time ::= [0-9] [0-9] ":" [0-9] [0-9] (":" [0-9] [0-9])?
text ::= {first} {character}{{0,{longest}}}
"""

# What stands between a level and its reason.
_BETWEEN = (" - ", " – ", " — ", ": ", ", ", ". ")


@dataclass(frozen=True)
class Summary:
    """What the evidence settles of a summary: how it begins and closes, the most bullets, and the
    severities that they may have, in capitals."""

    header: str
    closing: str
    bullets: int
    severities: tuple[str, ...]


Form = str | Summary
"""Whose grammar: a task in `TASKS`, or one incident's summary."""


@dataclass(frozen=True)
class Rest:
    """What the beginning of an answer still needs.

    Attributes:
        text: the shortest text that completes the answer, `_FILLER` standing for each text.
        fixed: how that begins, up to the next level or text, which are the model's to choose.
        sure: how everything that completes the answer begins.
        texts: how many texts are yet to be begun.
        in_text: whether a text is being written, and may end here.
    """

    text: str
    fixed: str
    texts: int
    in_text: bool
    sure: str = ""


@dataclass(frozen=True)
class _Block:
    """A part of an answer, set off from others by an empty line: how it can open, and whether a
    text of the model's own follows. The first opening goes with `heading`."""

    heading: str
    openings: tuple[str, ...]
    has_text: bool

    @property
    def shortest(self) -> str:
        return self.openings[0] + (_FILLER if self.has_text else "")


_FILLER = "x"


_HEADER = re.compile(
    r"^=+\nIncident: .*\nSource IP: .*\nTimeline: .*\nThreat Level: .*$", re.MULTILINE
)


def summary(prompt: str) -> Summary | None:
    """The form of a summary of the evidence that a prompt shows; None if that has not its parts."""
    header, closing = _HEADER.search(prompt), closing_lines(prompt)
    groups = evidence.read(prompt[header.end() :]).groups if header else []
    severities = tuple(
        severity
        for severity in evidence.SEVERITIES
        if any(group.severity == severity for group in groups)
    )
    if header is None or len(closing) < 2 or not severities:
        return None
    lines = composed("\n".join((header[0], *closing))).split("\n")
    if not all(line.isprintable() for line in lines):
        return None
    return Summary("\n".join(lines[:-2]), "\n".join(lines[-2:]), len(groups), severities)


def gbnf(form: Form) -> str:
    """The grammar of a form, as llama.cpp reads it."""
    if isinstance(form, Summary):
        return _SUMMARY.format(
            header=json.dumps(form.header, ensure_ascii=False),
            closing=json.dumps(form.closing, ensure_ascii=False),
            bullets=form.bullets - 1,
            severity=_one_of(form.severities),
            first=_FIRST,
            character=_CHARACTER,
            longest=BULLET_LONGEST - 1,
        )
    return {"risk": _RISK, "cause": _CAUSE}[form].format(
        risk=_one_of(_words("risk_level")),
        likelihood=_one_of(_words("likelihood")),
        priority=_one_of(_words("investigation_priority")),
        between=_one_of(_BETWEEN),
        first=_FIRST,
        character=_CHARACTER,
        longest=_LONGEST - 1,
        bullets=_BULLETS,
        paragraphs=_PARAGRAPHS - 1,
    )


def rest(form: Form, answer: str) -> Rest | None:
    """What `answer`, the beginning of one under a grammar, still needs to be one.

    None for what the grammar does not let through.
    """
    if isinstance(form, Summary):
        return _rest_of_summary(form, answer)
    blocks = _blocks(form)
    parts = answer.split("\n\n", len(blocks) - 1)
    number, written = len(parts) - 1, parts[-1]
    block, later = blocks[number], blocks[number + 1 :]
    opening = next((one for one in block.openings if written.startswith(one)), None)
    if opening is None:
        begun = [one for one in block.openings if one.startswith(written)]
        if not begun:
            return None
        needed = begun[0][len(written) :] + (_FILLER if block.has_text else "")
        fixed = block.heading if block.heading.startswith(written) else ""
        if len(begun) == 1:
            fixed = begun[0]
        sure = _beginning_of_all(begun)[len(written) :]
        return _rest(needed, fixed[len(written) :], later, texts=block.has_text, sure=sure)
    text = written[len(opening) :]
    if block.has_text and not text:
        return _rest(_FILLER, "", later, texts=1)
    line = text[text.rfind("\n") + 1 :]
    if block.has_text and line in ("•", "• "):
        return _rest(f"• {_FILLER}"[len(line) :], "", later, texts=0)
    if line or not later:
        return _rest(
            "" if line else _FILLER, "", later, texts=0, in_text=block.has_text and line != ""
        )
    # A line end after a text, or after a level: another one, and the next block.
    return _rest("", "", later, texts=0, begun="\n" if text else "")


def _rest(
    needed: str,
    fixed: str,
    later: tuple[_Block, ...],
    *,
    texts: int,
    in_text: bool = False,
    begun: str = "",
    sure: str = "",
) -> Rest:
    """`needed` to end the block, then the `later` ones; `begun` of the line ends between."""
    after = "".join(f"\n\n{block.shortest}" for block in later).removeprefix(begun)
    if not needed and later:
        fixed = f"\n\n{later[0].heading}".removeprefix(begun)
        if not in_text and not begun:  # a level ends the block; a line end may begin another text
            sure = "\n\n" + _beginning_of_all(later[0].openings)
    texts += sum(block.has_text for block in later)
    return Rest(needed + after, fixed, texts, in_text, sure)


def _beginning_of_all(texts: Sequence[str]) -> str:
    """What all texts begin with."""
    first, last = min(texts), max(texts)
    return first[: next((i for i, of in enumerate(first) if last[i] != of), len(first))]


def _rest_of_summary(form: Summary, answer: str) -> Rest | None:
    header, closing = f"{form.header}\n\n", f"\n\n{form.closing}"
    if not answer.startswith(header):
        needed = header[len(answer) :] + "• "
        shortest = f"00:00 - {_FILLER}{_tag(form)}"
        return (
            Rest(needed + shortest + closing, needed, 1, in_text=False, sure=needed)
            if header.startswith(answer)
            else None
        )
    said, ended, close = answer[len(header) :].partition("\n\n")
    *before, last = said.split("\n")
    if ended:
        needed = closing[2 + len(close) :]
        is_one = closing[2:].startswith(close)
        return Rest(needed, needed, 0, in_text=False, sure=needed) if is_one else None
    if bullet_of(form).fullmatch(last):  # it may go on: a text may hold a severity of its own
        return Rest(closing, closing, 0, in_text=True)
    if not last and before:
        full = len(before) >= form.bullets
        return Rest(closing[1:], "", 0, in_text=False, sure=closing[1:] if full else "")
    if "• ".startswith(last):
        mark = "• "[len(last) :]
        return Rest(f"{mark}00:00 - {_FILLER}{_tag(form)}{closing}", mark, 0, False, mark)
    return Rest(_tag(form) + closing, "", 0, in_text=False)


def _tag(form: Summary) -> str:
    return f" [{max(form.severities, key=len)}]"


_CLOCK = r"\d\d:\d\d(?::\d\d)?"
_TIMES = rf"• {_CLOCK}(?:(?:-| - |–|, ){_CLOCK}){{0,31}} - "
_LAST_TEXT = re.compile(rf"(?:^|\n){_TIMES}([^\n]*)\Z", re.ASCII)


@cache
def bullet_of(form: Summary) -> re.Pattern[str]:
    """A whole bullet of a summary."""
    return re.compile(
        rf"{_TIMES}{_FIRST}{_CHARACTER}{{0,{BULLET_LONGEST - 1}}}"
        rf" \[(?:{'|'.join(form.severities)})\]",
        re.ASCII,
    )


def too_long(form: Form, answer: str) -> int | None:
    """Where the text of a summary's last bullet begins, if it is too long; None if it is not."""
    found = _LAST_TEXT.search(answer) if isinstance(form, Summary) else None
    return found.start(1) if found and len(found[1]) > TOO_LONG else None


def tag_in(form: Form, text: str) -> str:
    """The first severity that a bullet's text holds; nothing if it holds none."""
    severities = form.severities if isinstance(form, Summary) else ()
    tag = re.search(rf"\[(?:{'|'.join(severities)})\]", text)
    return tag[0] if tag else ""


def repeated(form: Form, answer: str) -> int | None:
    """Where a summary's last bullets begin to say what an earlier one says; None if they do not."""
    if not isinstance(form, Summary):
        return None
    at, seen = 0, set[str]()
    for line in answer.split("\n"):
        if bullet_of(form).fullmatch(line):
            if line.lower() in seen:
                return at - 1
            seen.add(line.lower())
        at += len(line) + 1
    return None


@cache
def _blocks(task: str) -> tuple[_Block, ...]:
    def plain(heading: str, *others: str, has_text: bool = True) -> _Block:
        return _Block(heading, (heading, *others), has_text)

    def level(heading: str, part: str, between: tuple[str, ...] = ("",)) -> _Block:
        words = sorted(_words(part), key=len)
        openings = (heading + word + mark for mark in between for word in words)
        return _Block(heading, tuple(openings), between != ("",))

    if task == "risk":
        return (
            level("**Risk Level:** ", "risk_level"),
            plain("**Justification:** "),
            plain("**Business Impact:** "),
            level("**Likelihood of Malicious Activity:** ", "likelihood", _BETWEEN),
            level("**Investigation Priority:** ", "investigation_priority", _BETWEEN),
        )
    names = ("Malicious Activity", "Legitimate Activity", "Misconfigurations")
    return (
        plain("**Possible Causes:**", has_text=False),
        *(
            plain(f"**{i}. {name}:**\n• ", f"{i}. **{name}:**\n• ")
            for i, name in enumerate(names, 1)
        ),
        plain("**Conclusion:** "),
    )


# Where a sentence ends: at its mark, before white space, or at the end of a line without one ...
_SENTENCE_END = re.compile(r"[.!?…][\"'”’)\]*]*(?=\s)|[。！？](?=.)|(?<=\S)(?=\n)")
# ... but not after an abbreviation or a number in a list, nor within brackets.
_NO_END = re.compile(
    r"(?:\b(?:e\.g|i\.e|vs|cf|approx|incl|no)|(?:^|\s)\d{1,2})\.\Z|\([^()\n]*\Z", re.I
)


def sentence_ends(text: str, start: int) -> list[int]:
    """Where, from `start` on, sentences of a text end, and it is seen that they do."""
    ends = (match.end() for match in _SENTENCE_END.finditer(text, start))
    return [end for end in ends if not _NO_END.search(text[:end])]


# In capitals and in small letters too, as some models that wrote the training data have it.
_SPELT = (str.capitalize, str.upper, str.lower)


def _words(part: str) -> tuple[str, ...]:
    return tuple(spell(level) for level in LEVELS[part] for spell in _SPELT)


LEVEL_PLACE = "**Risk Level:**"
"""What an assessment chooses its level after."""


@cache
def level_beginnings() -> dict[str, tuple[int, ...]]:
    """The tokens with which each level of risk begins at its place."""
    return {
        level.capitalize(): tuple({text_ids(f" {spell(level)}")[0] for spell in _SPELT})
        for level in LEVELS["risk_level"]
    }


def _one_of(texts: tuple[str, ...]) -> str:
    return "(" + " | ".join(f'"{text}"' for text in texts) + ")"
