"""Our grammars as regular expressions, read by code that shares nothing with llama.cpp."""

from __future__ import annotations

import json
import re
from functools import cache

from immune_train.edge import grammar

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|\{\d+,\d+\}|[a-z]+|[()|*+?]|\s+')


@cache
def pattern(task: str) -> re.Pattern[str]:
    """A grammar of ours, which has no recursion, as a regular expression."""
    rules = dict(line.split(" ::= ", 1) for line in grammar.gbnf(task).strip().splitlines())

    def expand(name: str) -> str:
        made = ""
        for token in _TOKEN.findall(rules[name]):
            if token[0] == '"':
                made += f"(?:{re.escape(json.loads(token))})"
            elif token == "(":
                made += "(?:"
            elif token[0].isalpha():
                made += f"(?:{expand(token)})"
            elif not token.isspace():
                made += token
        return made

    return re.compile(expand("root"))


def accepts(task: str, text: str) -> bool:
    return pattern(task).fullmatch(text) is not None
