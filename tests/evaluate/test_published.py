"""`evaluate --published`: what is wrong with a table is said, and with a sound one nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from immune_train.evaluate import __main__ as evaluate

FOLDER = Path(__file__).parents[2] / "docs" / "published"
SOUND = """
source = "nobody"
[[tables]]
name = "a sound table"
incidents = 100
judge = "a judge"
rubric = "0"
orders = "balanced"
calls = 4
trained_on = 0
rows = [
    { candidate = "x", win_rate = 80.0, wins = 80, mean_rank = 1.2, interval = [71.1, 86.7] },
    { candidate = "constant", kind = "baseline", win_rate = 20.0, wins = 20, mean_rank = 1.8, \
interval = [13.3, 28.9] },
]
"""


def faults(path: Path, capsys: pytest.CaptureFixture[str], code: int = 1) -> dict[str, list[str]]:
    capsys.readouterr()
    assert evaluate.main(["--published", str(path), "--json"]) == code
    return json.loads(capsys.readouterr().out)["faults"]


def holding(sentences: list[str], *words: str) -> str:
    [found] = [one for one in sentences if all(word in one for word in words)]
    return found


def test_the_published_tables_are_of_several_runs(capsys: pytest.CaptureFixture[str]) -> None:
    found = faults(FOLDER / "unified-results.toml", capsys)
    summary, risk = found["Summary Task Results"], found["Risk Task Results"]
    holding(summary, "sum to 97.9%", "1 of 47")
    holding(risk, "sum to 86.6%", "9 of 67")
    for sentences in (summary, risk):
        holding(sentences, "not in the order of any column")
        holding(sentences, "There is no baseline")
        holding(sentences, "or of their groups, were trained on")
    assert "Unified 1.5B (fp16) 23.9% (15.3 to 35.3)" in holding(risk, "There are no intervals")


def test_the_own_eval_split_says_less_and_loses_what_failed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = faults(FOLDER / "own-held-out.toml", capsys)
    summary, risk = found["Summary, own eval split"], found["Cause and risk, own eval split"]
    holding(summary, "wins sum to 65, not to 68")
    holding(summary, "mean ranks sum to 13.16", "failed answers were left out")
    assert "Finetuned 10.3% (5.1 to 19.8)" in holding(risk, "There are no intervals")
    assert not [one for one in risk if "sum to" in one]


def test_a_sound_table_has_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sound.toml"
    path.write_text(SOUND)
    assert faults(path, capsys, code=0) == {"a sound table": []}
    assert evaluate.main(["--published", str(path)]) == 0
    assert "Nothing is wrong with it." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("what", "by", "said"),
    [
        ("win_rate = 80.0, wins = 80", "win_rate = 70.0, wins = 70", "sum to 90.0%"),
        ("win_rate = 80.0, wins = 80", "win_rate = 90.0, wins = 90", "won more than once"),
        ("wins = 80", "wins = 79", "79 wins of 100 are not 80%"),
        ("win_rate = 80.0", "win_rate = 80.4", "not a whole number"),
        ("mean_rank = 1.2", "mean_rank = 1.1", "mean ranks sum to 2.90"),
        ("trained_on = 0", "trained_on = 7", "7 of its 100 incidents were trained on"),
        ('kind = "baseline", ', "", "no baseline"),
        ('orders = "balanced"\n', "", "about its judge: orders"),
        ("interval = [71.1, 86.7]", "scores = {}", "There are no intervals"),
        ("= 80.0, wins = 80", "= 52.0, wins = 52", "cannot be distinguished"),
    ],
)
def test_each_fault_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, by: str, said: str
) -> None:
    assert what in SOUND
    text = SOUND.replace(what, by)
    if "52" in by:
        text = text.replace("= 20.0, wins = 20", "= 48.0, wins = 48")
    path = tmp_path / "table.toml"
    path.write_text(text)
    holding(faults(path, capsys)["a sound table"], said)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("source = ", "is not TOML"),
        ("source = 'x'", "does not have the format of published tables"),
        (SOUND.replace("win_rate = 80.0", "win_rate = 180.0"), "win rate that is not a percentage"),
        (SOUND.replace('"constant"', '"x"'), "two or more different candidates"),
        (SOUND.replace("calls", "call"), "does not have the format of published tables"),
        ("source = 'x'\ntables = []", "contains no table"),
    ],
)
def test_what_is_no_table_is_one_sentence(
    refused: Callable[..., str], tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "table.toml"
    path.write_text(text)
    assert says in refused(evaluate.main, "--published", path)
