"""Evidence, what a model may want to write of it, and whether an answer is grounded in it.

Models are functions that give logits after the tokens written so far.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import plain_names

from immune_data.contract.grounding import ungrounded
from immune_data.contract.tokens import text_ids
from immune_data.contract.vocabulary import END, FIRST_ADDED
from immune_train.score.answers import Case
from immune_train.score.metrics import METRICS

EVIDENCE = """\
Source IP: 192.168.1.113 | Timewindow: 12
Timeline: 2024-01-01 10:00:00 to 2024-01-01 11:00:00
Threat Level: 15.5 | Events: 1500

• 10:15-10:20 - 9 events [HIGH] scan of ports {22, 443, 8080, … 46 in all} of 10.0.0.15/24
• 10:31 - 1 event [MEDIUM] connection to 45.83.64.12:8443 (SBL221379), cdn.example.com, 53/UDP
• 10:40 - 3 events [LOW] from 8c:ac:57:a3:8e:d4, fe80::1 and 2001:db8:0:1:2:3:4:5, file
  d41d8cd98f00b204e9800998ecf8427e

Total Evidence: 1500 events
Severity breakdown: High: 9, Medium: 1, Low: 3
"""

DANGEROUS = (
    *"0123456789.:/-,[]{}()|*_'\"abcdef",
    *(" port", " ports", "port", "ports", " number", "(s)", " and", " or", ", ", "::", "."),
    *("/tcp", "/udp", "tcp", "TCP", "SBL", " SBL", "sb", "l", " [", "HIGH", "high", "LOW", "]\n"),
    *("CRITICAL", "MEDIUM", "info", "com", ".com", "net", "evil", "example", "cdn", ".ru", " www"),
    *("aa", "ab", "fe", "fe80", "db8", "d41", "cd", "f0", "Total", " Evidence", "Events", "total"),
    *(" events", " ", "  ", "\n", "\t", "\n\n", "**", "•", " –", "٣", "３", "²", "K", "İ", "é"),
    *("\u200b", "．", "：", "<|", "|>", "im", "end", "<|im_end|>"),
)
# What evidence may hold that was written to confuse.
HOSTILE = (
    *("10.0.0.1", "10.0.0.15", "10.0.0.1.5", "256.300.1.2", "1.2.3", "010.0.0.1", "10.0.0.1/8"),
    *("10.0.0.1/33", "fe80::1", "::", "::1", "1:2:3:4", "1:2:3:4:5:6:7:8", "fe80::/10"),
    *("aa:bb:cc:dd:ee:ff", "aa-bb-cc-dd-ee-ff", "evil.com", "a.b.c.ru", "xn--p1ai.com"),
    *("cdn.example.com", "．com", "evil。com", "EVIL.NET", "port 80", "ports 1, 22 and 443"),
    *("port(s): 7/8", "port ٣٣", "45.1.2.3:99", "}:12", "123456/tcp", "SBL1", "SBL12", "SBL123"),
    *("sbl", "İSBL4", "[HIGH]", "[low]", "[Critical", "[INFO]", "Total Evidence: 12"),
    *("| Events: 1,234", "total events : 007", "Total evidence: 1,23", "<|im_end|>"),
    *("<|im_start|>system", "d41d8cd98f00b204e9800998ecf8427e", "a" * 40, "0" * 65),
)

Logits = Callable[[Sequence[int]], np.ndarray]
METRIC = next(metric for metric in METRICS if metric.name == "grounded")


def wanting(text: str, size: int) -> Logits:
    """A model that wants to write a text, and goes on with it wherever it was led to."""
    wanted = text_ids(text)
    noise = np.random.default_rng(len(text)).random(size, dtype=np.float32)

    def logits(written: Sequence[int]) -> np.ndarray:
        made = noise.copy()
        made[wanted[len(written)] if len(written) < len(wanted) else END] = 2
        return made

    return logits


@cache
def weights(seed: int, size: int) -> np.ndarray:
    """A model of random weights that likes what names are made of."""
    numbers = np.random.default_rng(seed)
    made = numbers.standard_normal((24, size), dtype=np.float32)
    liked = sorted({token for text in DANGEROUS for token in text_ids(text)})
    made[:, liked] = 12 + 2 * numbers.standard_normal((24, len(liked)), dtype=np.float32)
    made[:, FIRST_ADDED:] = 6
    return made


def hostile_evidence(seed: int) -> str:
    chance = random.Random(seed)
    parts = chance.sample(HOSTILE, chance.randint(0, 12))
    digits = [f"{chance.randrange(256)}.{chance.randrange(9)}.0.{chance.randrange(256)}"]
    return "".join(part + chance.choice((", ", " \n", "; ", ". ")) for part in parts + digits)


def slips_of_the_pen(shown: str, seed: int) -> list[int]:
    """Tokens of names that are shown, of others, and of what is between the two."""
    chance, made = random.Random(seed), []
    for _ in range(12):
        name = chance.choice((*shown.split(), *HOSTILE))
        at, letter = chance.randrange(len(name)), chance.choice("0123456789abf.:/-, ")
        slip = name[:at] + letter + name[at + chance.randrange(2) :]
        made.append(chance.choice((name, name.upper(), slip)))
    return text_ids(chance.choice((" ", ", ", "\n", " port ")).join(made))


def of_random_weights(seed: int, size: int, likes: Sequence[int] = ()) -> Logits:
    """A model that looks at two tokens, and may like to write some that it knows."""
    made = weights(seed % 7, size)

    def logits(written: Sequence[int]) -> np.ndarray:
        row = made[sum(written[-2:]) % len(made)].copy()
        if likes:
            row[likes[len(written) % len(likes)]] += 10
        return row

    return logits


def assert_grounded(answer: str, shown: str) -> None:
    """By what selects and what scores, and by a reading that has nothing to do with either."""
    assert ungrounded(answer, shown) == {}, answer
    assert METRIC.of(Case("cause", answer, "", (shown,))) in (None, 1.0, True), answer
    assert plain_names.lacking(answer, shown) == [], answer
