"""Grammars that let only documented answers through: a task in, GBNF as llama.cpp reads it out.

The headings are those of the prompts and the levels those of `answer_fields`, so that whatever a
grammar lets through parses. Texts are bounded in length, which also ends an answer that would go
round in circles; the bounds are wider than the longest answer of the training data.

`rest` says of the beginning of an answer what it still needs, so that whoever writes it can see in
time that its room runs out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from immune_data.contract.answer_fields import LEVELS

TASKS = ("risk", "cause")
"""The tasks that have a grammar."""

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


# What stands between a level and its reason.
_BETWEEN = (" - ", " – ", " — ", ": ", ", ", ". ")


@dataclass(frozen=True)
class Rest:
    """What the beginning of an answer still needs.

    Attributes:
        text: the shortest text that completes the answer, `_FILLER` standing for each text.
        fixed: how that begins, up to the next level or text, which are the model's to choose.
        texts: how many texts are yet to be begun.
        in_text: whether a text is being written, and may end here.
    """

    text: str
    fixed: str
    texts: int
    in_text: bool


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


def gbnf(task: str) -> str:
    """The grammar of a task in `TASKS`."""
    return {"risk": _RISK, "cause": _CAUSE}[task].format(
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


def rest(task: str, answer: str) -> Rest | None:
    """What `answer`, the beginning of one under the task's grammar, still needs to be one.

    None for what the grammar does not let through.
    """
    blocks = _blocks(task)
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
        return _rest(needed, fixed[len(written) :], later, texts=block.has_text)
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
) -> Rest:
    """`needed` to end the block, then the `later` ones; `begun` of the line ends between."""
    after = "".join(f"\n\n{block.shortest}" for block in later).removeprefix(begun)
    if not needed and later:
        fixed = f"\n\n{later[0].heading}".removeprefix(begun)
    return Rest(needed + after, fixed, texts + sum(block.has_text for block in later), in_text)


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


def _words(part: str) -> tuple[str, ...]:
    # In capitals and in small letters too, as some models that wrote the training data have it.
    spelt = (str.capitalize, str.upper, str.lower)
    return tuple(spell(level) for level in LEVELS[part] for spell in spelt)


def _one_of(texts: tuple[str, ...]) -> str:
    return "(" + " | ".join(f'"{text}"' for text in texts) + ")"
