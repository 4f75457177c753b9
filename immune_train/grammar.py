"""Grammars that let only documented answers through: a task in, GBNF as llama.cpp reads it out.

The headings are those of the prompts and the levels those of `answer_parts`, so that whatever a
grammar lets through parses. Texts are bounded in length, which also ends an answer that would go
round in circles; the bounds are wider than the longest answer of the training data.
"""

from __future__ import annotations

from immune_data.answer_parts import LEVELS

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
reason ::= (" - " | " – " | " — " | ": " | ", " | ". ") text
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


def gbnf(task: str) -> str:
    """The grammar of a task in `TASKS`."""
    return {"risk": _RISK, "cause": _CAUSE}[task].format(
        risk=_words("risk_level"),
        likelihood=_words("likelihood"),
        priority=_words("investigation_priority"),
        first=_FIRST,
        character=_CHARACTER,
        longest=_LONGEST - 1,
        bullets=_BULLETS,
        paragraphs=_PARAGRAPHS - 1,
    )


def _words(part: str) -> str:
    # In capitals too, as some of the models that wrote the training data have it.
    spelt = [word for level in LEVELS[part] for word in (level.capitalize(), level.upper())]
    return "(" + " | ".join(f'"{word}"' for word in spelt) + ")"
