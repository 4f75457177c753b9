"""Every emitted answer rests on its evidence, by a reading of names of our own.

It shares nothing with the patterns of the gate and the audit: texts are taken apart into words,
and the standard library says what is an address.
"""

from __future__ import annotations

import ipaddress
import string
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest
from conftest import REPOSITORY, Part
from corpus import records

HEX = set("0123456789abcdef")
SEVERITIES = {"critical", "high", "medium", "low", "info"}
# Dots in words that are no names of hosts: abbreviations and files.
NO_DOMAINS = {"e.g", "i.e", "a.m", "p.m", "vs"}
FILES = {"txt", "intel", "csv", "json", "log", "exe", "netset", "ipset"}
BEFORE_PORTS = {"(", ")", "s", "number", "numbers", ":", "[", "{", "'", '"', "*", " "}
BETWEEN_PORTS = {",", "/", "and", "or", "'", '"', " "}

Names = dict[str, set]


@cache
def names(text: str) -> Names:
    """What a text names, by kind.

    Tasks and recipes are shown the same lines, and some have the same answers.
    """
    text = text.lower()
    found: Names = defaultdict(set)
    for word in words(text):
        for kind, name in of_word(word):
            found[kind].add(name)
    found["port"] |= set(ports(parts(text)))
    found["severity_tag"] = {
        tag for piece in text.split("[")[1:] if (tag := piece.partition("]")[0]) in SEVERITIES
    }
    for line in text.splitlines():
        for heading in ("total evidence", "total events", "| events"):
            _, heading_found, rest = line.partition(heading)
            before, colon, said = rest.partition(":")
            if heading_found and colon and not before.strip("*_ "):
                number = said.lstrip("*_ ").split(" ")[0].rstrip(".*_").replace(",", "")
                if number.isdecimal():
                    found["event_total"].add(int(number))
    return {kind: of for kind, of in found.items() if of}


def words(text: str) -> Iterator[str]:
    """The words of a text without the marks around them."""
    for mark in ",;()[]{}<>\"'`*|=…–—!?":
        text = text.replace(mark, " ")
    for word in text.split():
        yield word.strip(".").removesuffix(":")


@cache
def of_word(word: str) -> list[tuple[str, object]]:
    """The names that a word is, or is made of."""
    return list(_of_word(word))


def _of_word(word: str) -> Iterator[tuple[str, object]]:
    letters = word.replace("-", ":").split(":")
    if len(letters) == 6 and all(len(of) == 2 and set(of) <= HEX for of in letters):
        yield "mac", word
        return
    if len(word) in (32, 40, 64) and set(word) <= HEX:
        yield "hash", word
    if word.startswith("sbl") and word[3:].isdecimal():
        yield "list_id", word
    if "/" in word and (network := _ip(ipaddress.ip_network, word)) is not None:
        yield "network", network
    for part in word.replace("/", " ").replace("-", " ").split():
        if not ("." in part or ":" in part) or part[0] not in HEX | {":"}:
            continue
        for tried in (part, part.rpartition(":")[0], part.rstrip(":")):
            if (address := _ip(ipaddress.ip_address, tried)) is not None:
                yield "address", address
                break
    host = word.removeprefix("http://").removeprefix("https://").split("/")[0].split(":")[0]
    labels = host.split(".")
    if len(labels) > 1 and labels[-1].isalpha() and len(labels[-1]) > 1 and host.isascii():
        known = host in NO_DOMAINS or labels[-1] in FILES
        if not known and all(of.replace("-", "").replace("_", "").isalnum() for of in labels):
            yield "domain", host


def _ip(read: Callable, word: str) -> object:
    try:
        return read(word, strict=False) if read is ipaddress.ip_network else read(word)
    except ValueError:
        return None


def parts(text: str) -> list[str]:
    """A text in runs of letters, of digits and of blanks, and its other characters one by one."""

    def kind(character: str) -> object:
        if character in string.digits:
            return 0
        return 1 if character.isalpha() else 2 if character.isspace() else character

    found: list[str] = []
    for of, run in groupby(text, kind):
        characters = list(run)
        found += [" "] if of == 2 else ["".join(characters)] if of in (0, 1) else characters
    return found


def ports(found: list[str]) -> Iterator[str]:
    """The numbers in lists after the word for ports or after an address, and before /tcp, /udp."""
    for i, part in enumerate(found):
        if part in ("port", "ports"):
            yield from _listed(found, i + 1, BEFORE_PORTS)
        is_address = part.isdecimal() and found[i - 6 : i] and found[i - 1] == found[i - 3] == "."
        if (part == "}" or is_address) and found[i + 1 : i + 2] == [":"]:
            yield from _listed(found, i + 2, {"[", "{", "'"})
        if part.isdecimal() and found[i + 1 : i + 3] in (["/", "tcp"], ["/", "udp"]):
            yield part


def _listed(found: list[str], start: int, skipped: set[str]) -> Iterator[str]:
    while start < len(found) and found[start] in skipped:
        start += 1
    for i in range(start, len(found)):
        after = [*found[i + 1 : i + 3], "", ""]
        if found[i].isdecimal() and not (after[0] == "." and after[1].isdecimal()):
            yield found[i]
        elif found[i] not in BETWEEN_PORTS:
            return


def lacking(messages: list[dict]) -> Names:
    """What an answer names and nothing before it does."""
    *shown, answer = [message["content"] for message in messages]
    found = {kind: set(of) for kind, of in names(answer).items()}
    for line in "\n".join(shown).splitlines():
        for kind, of in names(line).items():
            found.get(kind, set()).difference_update(of)
    return {kind: of for kind, of in found.items() if of}


def ungrounded(out: Path, recipe: str) -> dict[tuple, Names]:
    """What is lacking of every emitted record, and that there are any."""
    found = [record for split in ("train", "eval") for record in records(out, split, recipe)]
    assert len(found) > 50
    assert sum(map(len, (names(record["messages"][-1]["content"]) for record in found))) > 100
    return {
        (record["incident_id"], record["task"]): of
        for record in found
        if (of := lacking(record["messages"]))
    }


def test_every_name_in_the_sample_is_shown(sample_out: Callable[[str], Path]) -> None:
    assert ungrounded(sample_out("unified-clean"), "unified-clean") == {}


def test_every_name_is_shown_by_prompts_that_begin_with_the_evidence(
    sample_part: Callable[[str], Part],
) -> None:
    assert ungrounded(sample_part("unified-edge").out, "unified-edge") == {}


@pytest.mark.parametrize("recipe", ["unified-clean", "unified-edge"])
def test_every_name_in_the_real_set_is_shown(recipe: str, real_out: Callable[[str], Path]) -> None:
    assert ungrounded(real_out(recipe), recipe) == {}


def test_where_nothing_is_refused_it_is_found(sample_out: Callable[[str], Path]) -> None:
    found = ungrounded(sample_out("unified-v2"), "unified-v2")
    assert {kind for of in found.values() for kind in of} == {
        *("address", "network", "port", "domain", "mac", "hash", "list_id", "event_total")
    }  # and no severity: those instructions name them all


def test_instructions_ground_nothing() -> None:
    texts = list((REPOSITORY / "immune_data" / "prompts" / "condensed").rglob("*.txt"))
    assert len(texts) > 5
    assert {path.name: names(path.read_text("utf-8")) for path in texts} == {
        path.name: {} for path in texts
    }


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("From 10.0.0.1, 10.0.0.2:443 and (fe80::1).", "address", 3),
        ("Scans 10.0.0.1-10.0.0.9 at 10:15:20 of 3.11", "address", 2),
        ("In 100.64.0.0/10 and fe80::/10, 1/2.", "network", 2),
        ("Ports 80, 443 and 8080; 53/UDP, port(s): 22 of 10.0.0.1:53.", "port", 5),
        ("port {22, 23, … 9 in all} of {10.0.0.1, 10.0.0.2}:{80, 443}", "port", 4),
        ("portable 80, port unknown, 12 events on port 443, 10.0.0.1", "port", 1),
        ("dns.example.com, http://x.local/y, e.g. drop.txt v1.2", "domain", 2),
        ("8c:ac:57:a3:8e:d4 or 8C-AC-57-A3-8E-D5.", "mac", 2),
        (f"{'a' * 32} {'b' * 40}. {'c' * 64}, {'d' * 33}", "hash", 3),
        ("SBL262364, on the SBL", "list_id", 1),
        ("[HIGH] [high] [low] [higher]", "severity_tag", 2),
        ("**Total Evidence:** 1,500 events\nx | Events: 12\nTotal events so far", "event_total", 2),
    ],
)
def test_names_are_read(text: str, kind: str, expected: int) -> None:
    assert len(names(text).get(kind, ())) == expected
    assert len(lacking([{"content": "Nothing."}, {"content": text}]).get(kind, ())) == expected
    assert lacking([{"content": text}, {"content": text}]) == {}
