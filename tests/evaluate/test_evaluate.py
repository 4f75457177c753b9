"""`evaluate`: who is compared with whom, what is said of it, and what is refused."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import evaluation_example
import half_drawn
import pytest
from evaluated import TASKS, World, risk
from figures import undrawn, written
from half_drawn import FILES, PAGE

from immune_data.contract import answer_fields, grounding
from immune_train.evaluate import __main__ as evaluate
from immune_train.evaluate import evaluation, outputs, page

Refused = Callable[..., str]
DOCS = Path(__file__).parents[2] / "docs"
HOSTILE = "<script>alert('$x_1$')</script>"


def right(world: World) -> Callable[[str, str], str]:
    """Answers that are right about the number of events and about harmless incidents."""

    def said(incident: str, task: str) -> str:
        if task == "risk":
            return risk("Low" if world.category(incident) == "Normal" else "High")
        events = world.events(incident)
        return TASKS[task].replace("1,500", str(events)).replace("1500", str(events))

    return said


@pytest.fixture
def world(tmp_path: Path) -> World:
    """60 incidents, of which one model answers all and another fails on some."""
    made = World(tmp_path / "world")
    made.answers("tuned", right(made))
    made.answers("base", lambda name, task: None if name in ("e001", "e003") else "High.")
    return made


@pytest.fixture(scope="session")
def judged(
    shared_folder: Callable[[str, Callable[[Path], object]], Path], pytestconfig: pytest.Config
) -> World:
    """The same with verdicts on summaries, written by `evaluate` once; tests only read it.

    Its figures are not drawn as SVG files, which differ from the wide ones of the page by little.
    """

    def make(folder: Path) -> None:
        made = World(folder)
        made.answers("tuned", right(made))
        made.answers("base", lambda name, task: None if name in ("e001", "e003") else "High.")
        means = {"reference": 8.0, "tuned": 7.5, "base": 3.0, "extract": 5.0}
        rows = made.summary_verdicts(
            lambda _, name: min(10.0, max(0.0, round(made.random.gauss(means[name], 1)))), means
        )
        verdicts = made.verdicts("verdicts.json", rows)
        with pytest.MonkeyPatch.context() as patch:
            if lacking:
                undrawn(patch, *lacking)
            assert evaluate.main(made.arguments("--verdicts", verdicts)) == 0

    lacking = () if pytestconfig.getoption("--thorough") else ("svg",)
    folder = shared_folder("evaluated", make)
    return World(folder, files={name: folder / f"{name}.jsonl" for name in ("tuned", "base")})


def numbers(world: World) -> dict[str, Any]:
    return json.loads((world.folder / "out" / "evaluation.json").read_text())


def cell(found: dict[str, Any], part: str = "all") -> dict[str, Any]:
    [one] = [one for one in found["scores"] if one["part"] == part]
    return one


def test_reference_models_and_baselines_are_candidates(judged: World) -> None:
    found = numbers(judged)
    kinds = {one["name"]: one["kind"] for one in found["candidates"]}
    assert kinds == {
        "reference": "reference",
        "tuned": "model",
        "base": "model",
        **{f"constant-{level}": "baseline" for level in ("critical", "high", "medium", "low")},
        "extract": "baseline",
    }
    assert found["most_frequent_level"] == {"level": "High", "answers": 12, "of": 12}
    assert found["synthetic"] is True
    of = {one["candidate"]: one for one in found["risk_levels"]["levels"]}
    assert of["constant-high"]["false_alarms"]["k"] == 20
    assert of["constant-low"]["missed"]["k"] == 40
    assert of["tuned"]["false_alarms"]["k"] == of["tuned"]["missed"]["k"] == 0
    assert of["tuned"]["over_constant"]["high"] < 0


def test_win_rates_sum_to_one_and_ties_are_shared(judged: World) -> None:
    found = numbers(judged)
    rows = json.loads((judged.folder / "verdicts.json").read_text())["incidents"]
    for one in found["scores"]:
        wins = sum(standing["wins"] for standing in one["standings"])
        assert wins == pytest.approx(one["incidents"])
    expected = 0.0
    for row in rows:
        best = [
            name for name, score in row["scores"].items() if score == max(row["scores"].values())
        ]
        expected += ("reference" in best) / len(best)
    standing = {one["candidate"]: one for one in cell(found)["standings"]}["reference"]
    assert standing["wins"] == pytest.approx(expected, rel=1e-5)
    assert standing["win_rate"]["value"] == pytest.approx(expected / 60, rel=1e-5)


def test_small_parts_claim_nothing(judged: World) -> None:
    found = numbers(judged)
    parts = {one["part"]: one for one in found["scores"]}
    assert parts["Normal"]["incidents"] == 20
    assert parts["Normal"]["differences"]
    small = parts["Normal, below 500 events"]
    assert small["incidents"] == 10
    assert small["differences"] == []
    for standing in small["standings"]:
        assert standing["score"] is standing["win_rate"] is standing["strength"] is None
    page = (judged.folder / "out" / "evaluation.html").read_text()
    assert f"{small['standings'][0]['wins']:g} of 10" in page


def test_a_failed_answer_is_the_worst_one(judged: World) -> None:
    found = numbers(judged)
    standings = {one["candidate"]: one for one in cell(found)["standings"]}
    assert standings["base"]["failed"] == 2
    assert standings["tuned"]["failed"] == 0
    rows = json.loads((judged.folder / "verdicts.json").read_text())["incidents"]
    given = [0 if r["incident_id"] in ("e001", "e003") else r["scores"]["base"] for r in rows]
    assert standings["base"]["score"]["value"] == pytest.approx(sum(given) / 60, rel=1e-5)
    measures = {(m["task"], m["candidate"], m["metric"]): m for m in found["measures"]}
    assert measures["summary", "base", "finished"]["k"] == 58
    # What failed does not have what a share counts, and has no length.
    assert measures["risk", "base", "levels_allowed"]["n"] == 60
    assert measures["risk", "base", "tokens"]["n"] == 58
    [levels] = [one for one in found["risk_levels"]["levels"] if one["candidate"] == "base"]
    assert levels["by_category"]["Malware"][-1] == 40  # "High." has no heading, and is not a level


def test_all_outputs_are_there_and_baselines_can_be_judged(judged: World) -> None:
    out = judged.folder / "out"
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [outputs.PAGE, outputs.NUMBERS, outputs.RESULTS, outputs.CARD, "figures", "baselines"]
    )
    with (out / outputs.RESULTS).open() as file:
        rows = list(csv.DictReader(file))
    assert {row["what"] for row in rows} >= {"score", "wins", "false alarms", "structure"}
    records = (judged.folder / "data" / "eval.jsonl").read_text().splitlines()
    shown = {
        record["incident_id"]: record["messages"][0]["content"]
        for record in map(json.loads, records)
    }
    lines = (out / "baselines" / "extract.jsonl").read_text().splitlines()
    assert len(lines) == 60
    for row in map(json.loads, lines):
        assert not answer_fields.parse("summary", row["answer"]).missing
        assert not grounding.ungrounded(row["answer"], shown[row["incident_id"]])
        first = next(line for line in row["answer"].splitlines() if line.startswith("•"))
        assert "[HIGH]" in first
    for level in ("critical", "high", "medium", "low"):
        [row, *_] = (out / "baselines" / f"constant-{level}.jsonl").read_text().splitlines()
        fields = answer_fields.parse("risk", json.loads(row)["answer"])
        assert not fields.missing
        assert fields.fields["risk_level"] == level.capitalize()


def test_the_same_files_give_the_same_bytes(
    judged: World, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Of the wide and of the narrow figures one form each, and thorough all."""
    lacking = () if pytestconfig.getoption("--thorough") else ("wide", "svg")
    forms = ",".join(form for form in (*PAGE, *FILES) if form not in lacking)
    command = judged.arguments("--verdicts", judged.folder / "verdicts.json")
    command[command.index("--output") + 1] = str(tmp_path / "again")
    done = subprocess.run(
        [sys.executable, "-m", "half_drawn", forms, "immune_train.evaluate", *command],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(half_drawn.__file__).parent),
            "PYTHONHASHSEED": "7",
            "TZ": "Asia/Tokyo",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert written(tmp_path / "again", lacking) == written(judged.folder / "out", lacking)


# The page


class Read(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_neither_network_nor_script(judged: World) -> None:
    read = Read((judged.folder / "out" / outputs.PAGE).read_text())
    tags = [tag for tag, _ in read.found]
    assert "script" not in tags
    assert ("meta", "Content-Security-Policy") in [
        (tag, attributes.get("http-equiv", "")) for tag, attributes in read.found
    ]
    for _, attributes in read.found:
        assert not any(name.startswith("on") for name in attributes)
        assert all("://" not in value for value in attributes.values())
    ids = [attributes["id"] for _, attributes in read.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = {a["href"].removeprefix("#") for tag, a in read.found if tag == "a"}
    assert links <= set(ids)
    assert tags.count("table") == tags.count("caption")
    assert "Summary: base scores below the reference" in read.text


def test_hostile_names_stay_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    undrawn(monkeypatch, "narrow", *FILES)
    world = World(tmp_path / "world", incidents=20)
    name = f"+{HOSTILE}"
    world.answers("x", right(world))
    world.files = {name: world.files["x"]}
    rows = world.summary_verdicts(lambda _, one: 5.0 if one == name else 7.0, (name, "reference"))
    verdicts = world.verdicts("verdicts.json", rows, judge=f"{HOSTILE}\x1b[2J")
    assert evaluate.main(world.arguments("--verdicts", verdicts)) == 0
    page = (world.folder / "out" / outputs.PAGE).read_text()
    assert HOSTILE not in page
    assert "\x1b" not in page
    assert HOSTILE in Read(page).text
    assert f"'{name}" in (world.folder / "out" / outputs.RESULTS).read_text()
    card = (world.folder / "out" / outputs.CARD).read_text()
    assert "\\<script\\>" in card
    assert "\x1b" not in card


# What is refused


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("incidents", "says"),
    [
        ({"e000": "train", "t000": "train"}, "was trained on in run (first: e000)"),
        ({"t000": "train", "e000": "eval"}, None),
    ],
)
def test_a_planted_leak_is_refused(
    refused: Refused, world: World, incidents: dict[str, str], says: str | None
) -> None:
    world.run("run", incidents)
    if says is None:
        assert evaluate.main(world.arguments()) == 0
        return
    assert says in refused(evaluate.main, *world.arguments(), code=1)
    assert not (world.folder / "out").exists()


def test_kin_of_what_was_learned_is_refused(refused: Refused, tmp_path: Path) -> None:
    world = World(tmp_path / "grouped", grouped=True)  # e000 and e001 share a window
    world.answers("tuned", right(world))
    world.write(
        "data/train.jsonl", world.records(["e001"], "10.0.0")
    )  # learned, and not in the reference
    kept = [r for r in world.records(world.names, "10.0.0") if r["incident_id"] != "e001"]
    world.write("data/eval.jsonl", kept)
    world.names.remove("e001")
    world.answers("tuned", right(world))
    world.run("run", {"e001": "train"})
    said = refused(evaluate.main, *world.arguments(), code=1)
    assert "1 of 59 evaluated incidents are in a group that was trained on in run" in said
    assert "first: e000" in said
    assert "with e001" in said


def test_kin_by_the_list_is_refused(refused: Refused, world: World) -> None:
    """Groups that share evidence stand in the list of incidents alone."""
    folder = world.run("run", {"t000": "train"})
    rows = [
        {"incident_id": "t000", "split": "train", "group": "t000"},
        {"incident_id": "e007", "split": "eval", "group": "t000"},
    ]
    (folder / "incidents.json").write_text(json.dumps(rows))
    assert "first: e007" in refused(evaluate.main, *world.arguments(), code=1)


def test_a_second_run_is_looked_at_too(refused: Refused, world: World) -> None:
    other = world.run("other", {"e005": "train"})
    command = world.arguments()
    command.insert(command.index("--trained") + 1, str(other))
    assert "trained on in other (first: e005)" in refused(evaluate.main, *command, code=1)


def test_a_missing_incident_is_refused(refused: Refused, world: World) -> None:
    lines = world.files["tuned"].read_text().splitlines(keepends=True)
    world.files["tuned"].write_text("".join(lines[:4] + lines[5:]))
    said = refused(evaluate.main, *world.arguments(), code=1)
    assert "tuned: 1 of 60 answers to task cause is missing (first: e001)" in said


@pytest.mark.usefixtures("undrawn")
def test_a_model_may_do_one_task(world: World) -> None:
    world.answers("base", lambda *_: risk("Low"), tasks=("risk",))
    assert evaluate.main(world.arguments()) == 0
    [base] = [one for one in numbers(world)["candidates"] if one["name"] == "base"]
    assert base["answers"] == {"risk": 60}


@pytest.mark.parametrize(
    ("change", "says", "code"),
    [
        ({"judge": "another"}, "is from judge: another", 1),
        ({"rubric": "1" * 64}, "is from judge: a judge, rubric: 111111111111", 1),
        ({"orders": "seeded"}, "orders: seeded", 1),
        ("again", "judges task summary of e000 again: give the verdicts of one run", 1),
        ("pasted", "judges other candidates", 1),
        ("lacking", "1 of 60 incidents is missing (first: e059)", 1),
        ("more", "include 1 incident missing from the reference (first: z)", 1),
        ("unknown", "judge gpt, whose answers are missing", 2),
        ("eleven", "gives base 11 in `scores`, which goes from 0 to 10", 2),
        ("ranking", "has a ranking that contradicts its scores", 2),
        ("twice", "does not name every candidate exactly once", 2),
        ("text", "does not have the documented format", 2),
        ("alone", "a table has two or more", 2),
    ],
)
def test_what_is_no_table_is_refused(
    refused: Refused, world: World, change: dict[str, str] | str, says: str, code: int
) -> None:
    names = ("reference", "tuned", "base")
    rows = world.summary_verdicts(lambda _, name: {"base": 2}.get(name, 7), names)
    first, more = rows[:30], rows[30:]
    head = change if isinstance(change, dict) else {}
    if change == "again":
        more = [*more, rows[0]]
    elif change == "pasted":
        for row in more:
            row["scores"] = {"tuned": 5, "reference": 5}
            row["rankings"] = {"1": "tuned", "2": "reference"}
    elif change == "lacking":
        more = more[:-1]
    elif change == "more":
        more = [*more, {**rows[0], "incident_id": "z"}]
    elif change == "unknown":
        for row in rows:
            row["scores"]["gpt"] = row["scores"].pop("base")
            row["rankings"] = {"1": "reference", "2": "tuned", "3": "gpt"}
    elif change == "eleven":
        more[0]["scores"]["base"] = 11
    elif change == "ranking":
        more[0]["rankings"] = {"1": "base", "2": "tuned", "3": "reference"}
    elif change == "twice":
        more[0]["rankings"] = {"1": "tuned", "2": "tuned", "3": "base"}
    elif change == "text":
        more[0]["scores"]["base"] = "7"
    elif change == "alone":
        more[0]["scores"], more[0]["rankings"] = {"base": 7}, {"1": "base"}
    paths = world.verdicts("one.json", first), world.verdicts("two.json", more, **head)
    said = refused(evaluate.main, *world.arguments("--verdicts", *paths), code=code)
    assert says in said


@pytest.mark.parametrize(
    ("spoil", "says", "code"),
    [
        ("no list", "it is unknown what the run was trained on", 2),
        ("unfinished", "is not finished", 2),
        ("another version", "written by another version of immune", 2),
        ("no train", "needed to find the most frequent level", 2),
        ("another train", "is not what run was trained on", 1),
        ("baseline's name", "is the name of a baseline", 2),
        ("no output", "--output is missing", 2),
        ("cost", "use one of [category.Malware]", 2),
        ("negative", "a number from 0", 2),
    ],
)
def test_wrong_uses_are_sentences(
    refused: Refused, world: World, spoil: str, says: str, code: int
) -> None:
    more: list[object] = []
    costs = world.folder / "costs.toml"
    if spoil == "no list":
        (world.folder / "run" / "incidents.json").unlink()
    elif spoil == "another version":
        (world.folder / "run" / "run.json").write_text('{"schema_version": 99}')
    elif spoil == "unfinished":
        (world.folder / "run" / "run.json").unlink()
        (world.folder / "run" / "config.yaml").write_text("")
    elif spoil == "no train":
        (world.folder / "data" / "train.jsonl").unlink()
    elif spoil == "another train":
        with (world.folder / "data" / "train.jsonl").open("a") as file:
            file.write("\n".join(json.dumps(r) for r in world.records(["t100"], "10.8.8")) + "\n")
    elif spoil == "baseline's name":
        world.files["extract"] = world.files.pop("tuned")
    elif spoil == "cost":
        costs.write_text("[category.Evil]\nHigh = 1\n")
        more = ["--costs", costs]
    elif spoil == "negative":
        costs.write_text("[category.Normal]\nHigh = -1\n")
        more = ["--costs", costs]
    command = world.arguments(*more)
    if spoil == "no output":
        at = command.index("--output")
        del command[at : at + 2]
    assert says in refused(evaluate.main, *command, code=code)


@pytest.mark.usefixtures("undrawn")
def test_costs_may_be_set(world: World, tmp_path: Path) -> None:
    rows = world.summary_verdicts(lambda *_: 5, ("tuned", "base"))
    verdicts = world.verdicts("verdicts.json", rows)  # they know the categories
    costs = tmp_path / "costs.toml"
    costs.write_text("[category.Normal]\nHigh = 30\n")
    assert evaluate.main(world.arguments("--costs", costs, "--verdicts", verdicts)) == 0
    of = {one["candidate"]: one for one in numbers(world)["risk_levels"]["levels"]}
    assert of["constant-high"]["cost_by_category"]["value"] == pytest.approx(10)
    assert of["constant-critical"]["cost_by_category"]["value"] == pytest.approx(2 / 3, rel=1e-5)
    assert numbers(world)["risk_levels"]["best_constant"] == "constant-critical"


def test_nothing_is_claimed_of_a_few(tmp_path: Path) -> None:
    world = World(tmp_path / "few", incidents=6)
    world.answers("tuned", right(world))
    rows = world.summary_verdicts(lambda _, name: len(name), ("tuned", "reference"))
    command = world.arguments("--verdicts", world.verdicts("verdicts.json", rows))
    assert evaluate.main(command) == 0
    page = Read((world.folder / "out" / outputs.PAGE).read_text()).text
    assert "Summary: 6 incidents in 6 groups are too few to claim anything." in page
    assert "6 of 6" in page
    assert not re.search(r"\d \(", page.split("Input files")[0].split("Loss")[0])


@pytest.mark.usefixtures("undrawn")
def test_a_failed_answer_may_be_null(world: World) -> None:
    row = json.loads(world.files["base"].read_text().splitlines()[3])
    assert row["answer"] is None
    assert row["finish"] == "error"
    assert evaluate.main(world.arguments()) == 0


def test_the_example_of_the_docs_is_the_page_of_today(tmp_path: Path) -> None:
    found = page.render(evaluation.evaluate(evaluation_example.files(tmp_path)), [])
    shown = (DOCS / f"{evaluation_example.NAME}.html").read_text(encoding="utf-8")
    # How a picture is drawn is a matter of the library's version, and how a page looks not of ours.
    pattern = re.compile(r"<figure>.*?</figure>\n+|<style>.*?</style>\n", re.DOTALL)
    assert pattern.sub("", shown) == pattern.sub("", found), "`make docs` writes it again"
