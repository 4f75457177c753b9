"""Clean answers: a text and its task in; the cleaned text, and the rules with an effect, out.

A rule in `CHANGES` removes text that is not part of the answer. A rule in `REFUSALS` finds an
answer that no such change can repair, and so keeps it out of the dataset. Each has a name, under
which the relation `cleaning` lists its effects.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from immune_data.contract import control_tokens, error_text, names
from immune_data.contract.evidence import without_noise

_LINE_ENDS = re.compile(r"\r\n?")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
# Zero-width and bidirectional formatting characters: the general category Cf without the few that
# are visible (Arabic number signs and the like).
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)
_FENCE = "```"
_OPENING_FENCE = re.compile(r"\A\s*```[^\n`]*\n")
_CLOSING_FENCE = re.compile(r"\n?[ \t]*```\s*\Z")
_RULE_LINE = re.compile(r"^[ \t]*-{3,}[ \t]*$", re.MULTILINE)
_DOUBLE_RULE = re.compile(r"[ \t]*={3,}[ \t]*")
_BLANKS = re.compile(r"[ \t]+$", re.MULTILINE)
# Rounding errors of sums of floating-point numbers: nobody writes so many decimals on purpose.
_NOISY = re.compile(r"(?<![\w.])\d{1,18}\.\d{8,18}(?![\w]|\.\d)", re.ASCII)
_ABOUT_THE_ANSWER = re.compile(
    r"\b(?:"
    r"this (?:\w+ ){0,2}(?:summary|analysis|assessment|response|answer|structure|format|report)"
    r"|(?:the )?above (?:\w+ )?(?:summary|analysis|assessment|structure)|provided above"
    r"|let me know|feel free|please (?:note|review|adjust|modify)|note:|word count"
    r"|as (?:requested|per your)|i (?:have|hope|can)\b"
    r")",
    re.IGNORECASE,
)
# Words of an answer that a remark about it never contains.
_PART_OF_AN_ANSWER = re.compile(
    r"severity breakdown|total evidence|risk level|justification:|business impact|likelihood of"
    r"|investigation priority|malicious activity:|legitimate activity:|misconfigurations:"
    rf"|conclusion|{names.PATTERNS['severity_tag']}",
    re.IGNORECASE,
)

_PLACEHOLDER = re.compile(
    r"\bHH:MM\b|YOUR[ _]ASSESSED|\[\s*(?:your )?clear (?:and concise )?(?:grouped )?summary"
    r"|\[your clear|\[specific attack technique|\[brief justification\]|\[description\]"
    r"|\[(?:source|dest(?:ination)?)[ _]ip\]",
    re.IGNORECASE,
)

# A sentence, or a line of a list, can end like this ...
_TERMINAL = re.compile(r"[.!?…。！？)\]}>\"'”’*`=]\Z")
# ... but not like this: inside an enumeration, a phrase, a number or an address.
_DANGLING = re.compile(
    r"(?:[,;:(\[{<–—/&+]|(?<!-)-"
    r"|(?<=\s)(?:a|an|the|and|or|of|to|in|on|at|by|for|from|with|without|as|is|are|was|were|be"
    r"|been|that|which|this|these|may|might|could|would|should|can|will|not|if|than|its|their)"
    r"|(?<![\d.])(?:\d{1,3}\.){2,3})\Z",
    re.IGNORECASE,
)
# A bracket opened in the last line and not closed.
_OPEN_BRACKET = re.compile(r"\([^()\n]*\Z|\[[^\[\]\n]*\Z")
_LAST_PART = {
    "summary": re.compile(r"severity breakdown|total evidence", re.IGNORECASE),
    "cause": re.compile(r"conclusion", re.IGNORECASE),
    "risk": re.compile(r"investigation priority", re.IGNORECASE),
}


def _line_ends(text: str) -> str:
    return _LINE_ENDS.sub("\n", text)


def _control_characters(text: str) -> str:
    return _CONTROL.sub("", text)


def _invisible_characters(text: str) -> str:
    return _INVISIBLE.sub("", text)


def _code_fence(text: str) -> str:
    """Without the fence around the whole text, or an unmatched half of it."""
    fences = text.count(_FENCE)
    opening, closing = _OPENING_FENCE.search(text), _CLOSING_FENCE.search(text)
    if fences == 2 and opening and closing and opening.end() <= closing.start() + 1:
        return text[opening.end() : max(closing.start(), opening.end())]
    if fences == 1 and opening:
        return text[opening.end() :]
    if fences == 1 and closing:
        return text[: closing.start()]
    return text


def _trailing_notes(text: str) -> str:
    """Without the text after a last `---` if it is about the answer, or empty."""
    while rules := list(_RULE_LINE.finditer(text)):
        head, notes = text[: rules[-1].start()], text[rules[-1].end() :]
        is_remark = _ABOUT_THE_ANSWER.search(notes) and not _PART_OF_AN_ANSWER.search(notes)
        if not head.strip() or (notes.strip(" \t\n=") and not is_remark):
            break
        text = head.rstrip()
    return text


def _trailing_rules(text: str) -> str:
    """Without lines of `====` at the end: such a line begins a summary's header."""
    lines = text.split("\n")
    while lines and (not lines[-1].strip() or _DOUBLE_RULE.fullmatch(lines[-1])):
        lines.pop()
    has_rule = any(_DOUBLE_RULE.fullmatch(line) for line in text.split("\n")[len(lines) :])
    return "\n".join(lines) if lines and has_rule else text


def _trailing_blanks(text: str) -> str:
    """Without blanks at the ends of lines, and without empty lines at the end."""
    return _BLANKS.sub("", text).rstrip("\n")


def _float_noise(text: str) -> str:
    """With numbers such as 15.280000000000005 as in the condensed evidence: 15.28."""
    return _NOISY.sub(lambda number: without_noise(number[0]), text)


def _is_empty(text: str, task: str) -> bool:
    return not text or text.isspace()


def _is_error_text(text: str, task: str) -> bool:
    return error_text.is_error_text(text)


def _echoes_placeholder(text: str, task: str) -> bool:
    return _PLACEHOLDER.search(text) is not None


def _contains_fence(text: str, task: str) -> bool:
    return _FENCE in text


def _is_cut_off(text: str, task: str) -> bool:
    """Whether the text stops in mid-sentence.

    A text that ends like a sentence is complete, unless it ends in the middle of a number or an
    address. One that does not may be complete as well, since models leave out final full stops: it
    is if it contains the last part of its task's structure.
    """
    ending = text.rstrip()
    last_line = ending[max(0, ending.rfind("\n")) :]  # with the line end in front of it
    if _DANGLING.search(last_line) or _OPEN_BRACKET.search(last_line):
        return True
    return not _TERMINAL.search(last_line) and not _LAST_PART[task].search(text)


CHANGES: dict[str, Callable[[str], str]] = {
    "line_ends": _line_ends,
    "control_characters": _control_characters,
    "invisible_characters": _invisible_characters,
    "code_fence": _code_fence,
    "trailing_notes": _trailing_notes,
    "trailing_rules": _trailing_rules,
    "trailing_blanks": _trailing_blanks,
    "float_noise": _float_noise,
    "control_tokens": control_tokens.escape,
}

REFUSALS: dict[str, Callable[[str, str], bool]] = {
    "empty": _is_empty,
    "error_text": _is_error_text,
    "placeholder": _echoes_placeholder,
    "stray_fence": _contains_fence,
    "cut_off": _is_cut_off,
}


@dataclass(frozen=True)
class Cleaned:
    """A cleaned answer: the rules that changed it, in order, and the one that refuses it if any."""

    text: str
    changed_by: tuple[str, ...]
    refused_by: str | None


def clean(text: str, task: str) -> Cleaned:
    """Apply all changes in order, then check all refusals."""
    changed_by = []
    for name, change in CHANGES.items():
        result = change(text)
        if result != text:
            changed_by.append(name)
        text = result
    refused_by = next(
        (name for name, is_refused in REFUSALS.items() if is_refused(text, task)), None
    )
    return Cleaned(text, tuple(changed_by), refused_by)
