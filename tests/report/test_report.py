"""`report`: one page that needs nothing but itself, and says what is so."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import half_drawn
import polars as pl
import pytest
from corpus import (
    CAUSE_TOTALS,
    MODELS,
    RISK_TOTALS,
    RUN_1,
    RUN_2,
    Corpus,
    answer,
    manifest,
    query,
    records,
)
from figures import undrawn, written
from half_drawn import FILES, PAGE
from judged import judged

from immune_data.audit import checks
from immune_data.common import drawing
from immune_data.contract import agreement
from immune_data.emit import __main__ as emit
from immune_data.prompts import TASKS
from immune_data.report import __main__ as report
from immune_data.report import verdict
from immune_data.report.facts import Facts, Offence

HOSTILE = (
    "</pre></style></svg><script>alert('$x_1^2$')</script>"
    '"><img src="http://evil.test/x.png" onerror="alert(1)"> &lt;b&gt; \x1b[2J\u202e ]]> -->'
)
DESCRIPTION = HOSTILE.replace("\x1b", "")  # a recipe may hold no control character
NAMES = ["funnel", "scores", "winners", "tokens", "evidence", "balance"]
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "header", "nav", "main", "section"),
    *("footer", "p", "h1", "h2", "h3", "ul", "li", "a", "dl", "dt", "dd", "div", "span", "strong"),
    *("figure", "figcaption", "table", "caption", "thead", "tbody", "tr", "th", "td"),
    *("details", "summary", "code", "pre"),
    *("svg", "desc", "g", "path", "text", "tspan", "defs", "use", "clippath", "rect"),
}
ATTRIBUTES = {
    *("lang", "charset", "name", "content", "class", "id", "href", "role", "tabindex", "scope"),
    *(
        "open",
        "http-equiv",
        "data-label",
        "aria-label",
        "aria-labelledby",
        "aria-hidden",
        "viewbox",
        "style",
        "d",
        "x",
        "y",
    ),
    *("width", "height", "transform", "clip-path"),
}
VOID = {"meta"}

Refused = Callable[..., str]


def hostile_corpus() -> Corpus:
    corpus = Corpus().incidents([f"i-{n}" for n in range(8)], facts={"category": HOSTILE})
    said = {
        model: {task: f"{HOSTILE} {answer(task, HOSTILE, model)}" for task in TASKS}
        for model in MODELS
    }
    for n in range(8):
        corpus.incident(f"<i>{n}&$z$", answers=said, dag=f"{HOSTILE}\n" * 400)
    return corpus


@pytest.fixture(scope="session")
def hostile_out(shared_folder: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    def make(folder: Path) -> None:
        source = hostile_corpus().write(folder / "source")
        recipe = folder / "mine.toml"
        recipe.write_text(
            f'extends = "unified-v2"\ndescription = {json.dumps(DESCRIPTION)}\n'
            f"[models.{json.dumps('<i>$a_b$</i>')}]\n"
            'summaries = "other"\ncause_risk = "other"\nspellings = ["other"]\n'
        )
        command = ["--source", str(source), "--data", str(folder / "out")]
        assert emit.main([*command, "--recipe", str(recipe)]) == 0
        assert report.main(["--data", str(folder / "out"), "--recipe", str(recipe)]) == 0

    return shared_folder("report-hostile", make)


@pytest.fixture(scope="session")
def small(shared_folder: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    def make(folder: Path) -> None:
        source = Corpus().incidents("abcdefghijkl").write(folder / "source")
        assert emit.main(["--source", str(source), "--data", str(folder / "out")]) == 0

    return shared_folder("report-small", make) / "out"


class Read(HTMLParser):
    """A page read strictly: every element closed, and in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.text: list[str] = []
        self.by_element: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.by_element.setdefault(self._open[-1] if self._open else "", []).append(data)
        self.text.append(data)

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


@pytest.mark.parametrize("which", ["sample", "hostile"])
def test_the_page_needs_neither_network_nor_script(
    which: str, sample_page: Path, hostile_out: Path
) -> None:
    path = sample_page if which == "sample" else hostile_out / "out" / "report" / "mine.html"
    text = path.read_text(encoding="utf-8")
    read = Read(text)
    assert set(read.elements) <= ELEMENTS
    assert {name for _, name, _ in read.attributes} <= ATTRIBUTES
    for _, name, value in read.attributes:
        assert "://" not in value, (name, value)
        if name in ("style", "clip-path", "href"):
            assert "url(" not in value.replace("url(#", "")
            assert name != "href" or value.startswith("#")
    [style] = read.by_element["style"]
    assert not re.search(r"url\(|@import|expression|</", style)


@pytest.mark.parametrize("which", ["sample", "hostile"])
def test_the_page_can_be_read_by_all(which: str, sample_page: Path, hostile_out: Path) -> None:
    path = sample_page if which == "sample" else hostile_out / "out" / "report" / "mine.html"
    read = Read(path.read_text(encoding="utf-8"))
    ids = read.values("id")
    assert len(ids) == len(set(ids))
    for value in read.values("aria-labelledby"):
        assert set(value.split()) <= set(ids)
    assert {value.removeprefix("#") for value in read.values("href")} <= set(ids)
    assert read.elements["table"] == read.elements["caption"]
    assert read.elements["h1"] == read.elements["main"] == read.elements["nav"] == 1
    assert ("html", "lang", "en") in read.attributes
    images = sum(entry == ("svg", "role", "img") for entry in read.attributes)
    decoration = sum(entry == ("svg", "aria-hidden", "true") for entry in read.attributes)
    assert images == 2 * len(NAMES)
    assert images + decoration == read.elements["svg"]
    assert read.elements["desc"] == images
    assert read.elements["title"] == images + 1


def test_hostile_text_stays_text(hostile_out: Path) -> None:
    text = (hostile_out / "out" / "report" / "mine.html").read_text(encoding="utf-8")
    shown = "".join(Read(text).text)
    for text_given in (DESCRIPTION, HOSTILE):  # and in the answers, the evidence
        assert text_given.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e") in shown
    assert shown.count("alert('$x_1^2$')") > 10
    assert "<i>$a_b$</i>" in shown  # a model's name, no formula
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "http://evil.test" not in re.sub("&(quot|#34);http://evil.test", "", text)


def test_offending_rows_are_shown_shortened_and_escaped(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undrawn(monkeypatch)
    every = [
        checks.Check("a_fault", f"Wrong: `{HOSTILE}` is.", "error", None, "from pool"),
        checks.Check("a_share", "Too much.", "warn", 0.25, "from pool"),
        checks.Check("all_well", "Nothing.", "info", None, "from pool where false"),
    ]
    frame = pl.DataFrame(
        {
            "incident_id": [HOSTILE, "b", "c"],
            "n": [1, None, 3],
            "list": [[HOSTILE], [], ["x"]],
            "text": [HOSTILE * 200, "", None],
            **{f"more_{i}": [0.5, 1.0, 2.0] for i in range(9)},
        }
    )
    monkeypatch.setattr(checks, "load", lambda names=None: every)

    def planted(connection: object, check: checks.Check, limit: int) -> tuple:
        rows = 0 if check is every[2] else 12
        return checks.Result(check, rows, rows > 0, "a"), frame.head(limit if rows else 0)

    monkeypatch.setattr(checks, "run_with_rows", planted)
    path = tmp_path / "page.html"
    assert report.main(["--data", str(small), "--output", str(path)]) == 0
    text = path.read_text(encoding="utf-8")
    read = Read(text)
    assert set(read.elements) <= ELEMENTS
    assert text.count("12 rows") == 2 + 1  # the verdict names the error
    assert "Rows 1 to 3 of 12; 5 more columns are not shown" in text
    assert "The bound is 0.25." in text
    assert "1 check that found nothing" in text
    assert len("".join(read.by_element["td"])) < 10_000


def test_the_page_says_what_the_database_and_the_manifest_say(
    sample_page: Path, sample_out: Callable[[str], Path]
) -> None:
    out = sample_out("unified-v2")
    text = sample_page.read_text(encoding="utf-8")
    read = Read(text)
    content = manifest(out)
    shown = "".join(read.text)
    for record in content["counts"]["funnel"]:
        assert record["step"] in shown
        assert f"{record['incidents']:,}" in shown
    for name, sha256 in content["inputs"]["sources"].items():
        assert name in shown
        assert sha256 in shown
    assert "2,195" in shown
    [(over,)] = query(out, "select count(*) from conversations where tokens > 4096")
    assert f"{over:,} conversations end past it" in shown
    for check in checks.load():
        assert check.name in shown
    wins = query(
        out,
        "select count(*) from candidates semi join pool using (incident_id) "
        "where task = 'summary' and place = 1 and model = 'gpt-4o'",
    )[0][0]
    assert f"{wins:,} · " in shown
    assert shown.count("carries loss") == 1 + shown.count("assistant · carries loss")
    assert shown.count("assistant · carries loss") == 4


def test_figures_are_files_of_their_own(sample_page: Path) -> None:
    folder = sample_page.with_suffix("") / "figures"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        f"{name}.{kind}" for name in NAMES for kind in ("svg", "png")
    )
    for name in NAMES:
        text = (folder / f"{name}.svg").read_text(encoding="utf-8")
        root = ElementTree.fromstring(text)
        space = "{http://www.w3.org/2000/svg}"
        assert root.tag == f"{space}svg"
        assert root.attrib["role"] == "img"
        assert root.find(f"{space}title").text
        assert root.find(f"{space}desc").text
        assert "<script" not in text
        assert set(re.findall(r"https?://[^\"]*", text)) <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xlink",
        }
        assert "prefers-color-scheme: dark" in text
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG\r\n")


def test_hostile_figures_are_valid_too(hostile_out: Path) -> None:
    for path in (hostile_out / "out" / "report" / "mine" / "figures").glob("*.svg"):
        ElementTree.fromstring(path.read_text(encoding="utf-8"))


def test_the_same_dataset_gives_the_same_bytes(
    hostile_out: Path, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """Of the wide and of the narrow figures one form each, and thorough all."""
    lacking = () if pytestconfig.getoption("--thorough") else ("wide", "png")
    first, second = hostile_out / "out", tmp_path / "second"
    shutil.copytree(first, second, ignore=shutil.ignore_patterns("report"))
    settings = tmp_path / "settings"
    settings.mkdir()
    (settings / "matplotlibrc").write_text(
        "font.size: 30\nsvg.hashsalt: other\nlines.linewidth: 9\naxes.grid: True\n"
    )
    forms = ",".join(form for form in (*PAGE, *FILES) if form not in lacking)
    module = (sys.executable, "-m", "half_drawn", forms, "immune_data.report")
    done = subprocess.run(
        [*module, "--data", second, "--recipe", hostile_out / "mine.toml"],
        env={
            **os.environ,
            "PYTHONPATH": str(Path(half_drawn.__file__).parent),
            "PYTHONHASHSEED": "7",
            "MPLCONFIGDIR": str(settings),
            "TZ": "Asia/Tokyo",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert written(first / "report", lacking) == written(second / "report", lacking)
    assert not [path for path in second.rglob("*") if "unfinished" in path.name]


@pytest.mark.parametrize(
    ("recipe", "windows", "said"),
    [
        ("unified-v2", "one", r"(\d+) not held out: their incidents are in train"),
        ("unified-v1", "one", r"(\d+) of windows or evidence that train has"),
        ("unified-v1", "each", "held out"),
        ("unified-clean", "each", "held out"),
    ],
)
def test_only_what_is_held_out_is_called_so(
    recipe: str, windows: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undrawn(monkeypatch)
    corpus = Corpus()
    for name in (f"i{number:02}" for number in range(20)):
        corpus.incident(name, facts={"timewindow": "7" if windows == "one" else name})
    source, out = corpus.write(tmp_path / "source"), tmp_path / "out"
    arguments = ["--recipe", recipe, "--data", str(out)]
    assert emit.main(["--source", str(source), *arguments]) == 0
    assert report.main(arguments) == 0
    read = Read((out / "report" / f"{recipe}.html").read_text(encoding="utf-8"))
    place = read.text.index("Eval records")
    shown = re.fullmatch(said, read.text[place + 2])
    assert shown, read.text[place : place + 4]
    train, held_out = (records(out, split, recipe) for split in ("train", "eval"))
    if windows == "one":
        trained = {row["incident_id"] for row in train}
        leaked = [row for row in held_out if row["incident_id"] in trained] or held_out
        assert int(shown[1]) == len(leaked) > 0


def test_the_page_says_how_far_each_judge_is_to_be_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A judge with noise and a taste for the first place, and another run of some incidents."""
    undrawn(monkeypatch)
    chance = random.Random(2)
    corpus = Corpus()
    for n in range(30):
        worth = {model: 3 + 1.5 * i + chance.random() for i, model in enumerate(MODELS)}
        corpus.incident(f"i-{n:02}", summary_scores=worth)
    corpus.rows[RUN_2] = [judged(row, chance, noise=0.5) for row in corpus.rows[RUN_1][:12]]
    corpus.rows[RUN_1] = [judged(row, chance, noise=0.5, first=1) for row in corpus.rows[RUN_1]]
    source, data = corpus.write(tmp_path / "source"), ["--data", str(tmp_path / "out")]
    assert emit.main(["--source", str(source), *data]) == 0
    assert report.main(data) == 0
    page = (tmp_path / "out" / "report" / "unified-v2.html").read_text(encoding="utf-8")
    section = page.partition('<section id="judges"')[2].partition("</section>")[0]
    rows = [
        [re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)]
        for row in re.findall(r"<tr>(.*?)</tr>", section, re.S)
    ]
    first, second, cause, risk, twice = (row for row in rows if len(row) > 1 and "json" in row[0])
    assert [row[:4] for row in (first, second)] == [
        [f"gpt-oss-120b, {RUN_1}", "summary", "30", "120"],
        [f"gpt-oss-120b, {RUN_2}", "summary", "12", "48"],
    ]

    def measured(cell: str) -> tuple[float, float]:
        value, half = (float(one) for one in cell.split("\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"))
        return value - half, value + half

    low, high = measured(first[4])
    assert low < 0.5 < high < low + 0.2
    low, high = measured(first[5])
    assert low < 1 < high < low + 0.4
    low, high = measured(second[5])
    assert low < 0 < high
    # Of verdicts without calls nothing is known but what length is worth: here all are as long.
    assert cause[3:6] == risk[3:6] == ["0", "–", "–"]
    changed, kept = twice[3], twice[4]
    assert twice[:3] == [f"{RUN_1} and {RUN_2}", "summary", "12"]
    runs = [agreement.verdicts(corpus.rows[name])["summary"] for name in (RUN_1, RUN_2)]
    found = agreement.agreement(*runs)
    assert changed == f"{found.changed} of 48, {found.changed / 48:.0%}"
    assert kept == f"{found.kept} of 12, {found.kept / 12:.0%}"


def test_nothing_emitted_is_a_page_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config
) -> None:
    """Each with one width of figures, and thorough with both."""
    none = Corpus().incidents("abc", cause=dict.fromkeys(CAUSE_TOTALS, 1))
    never = Corpus().incidents("abc", summary_scores=None, cause=None, risk=None)
    one = Corpus().incident("a", cause={"gpt-4o": 20}, risk={"gpt-4o": RISK_TOTALS["gpt-4o"]})
    thorough = pytestconfig.getoption("--thorough")
    forms = ("wide", "narrow", "wide")
    for place, (corpus, left_out) in enumerate(zip((none, never, one), forms, strict=True)):
        folder = tmp_path / str(place)
        source = corpus.write(folder / "source")
        assert emit.main(["--source", str(source), "--data", str(folder / "out")]) == 1
        with monkeypatch.context() as patched:
            undrawn(patched, *FILES, *([] if thorough else [left_out]))
            assert report.main(["--data", str(folder / "out")]) == 0
        Read((folder / "out" / "report" / "unified-v2.html").read_text(encoding="utf-8"))


def test_wrong_uses_are_sentences(
    refused: Refused, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undrawn(monkeypatch)
    assert "emit a recipe first" in refused(report.main, "--data", tmp_path)
    assert "not risk" in refused(report.main, "--data", small, "--recipe", "risk")
    assert "is a folder" in refused(report.main, "--data", small, "--output", tmp_path)
    assert "ends in .html" in refused(report.main, "--data", small, "--output", tmp_path / "page")
    (tmp_path / "file").write_text("")
    below = tmp_path / "file" / "page.html"
    assert "cannot write" in refused(report.main, "--data", small, "--output", below)
    assert (tmp_path / "file").read_text() == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_dataset_that_is_not_what_it_says_is_refused(
    refused: Refused, small: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(small, out)
    path = out / "sft" / "unified-v2" / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "inputs": {**content["inputs"], "version": "0"}}))
    assert "of different runs" in refused(report.main, "--data", out)
    path.write_text(json.dumps(content))
    with (out / "sft" / "unified-v2" / "train.jsonl").open("a") as file:
        file.write("\n")
    assert "is not the file that the manifest names" in refused(report.main, "--data", out, code=1)
    assert not (out / "report").exists()


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(weight * p for weight, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_text_and_figures_have_contrast_in_light_and_dark(sample_page: Path) -> None:
    [style] = Read(sample_page.read_text(encoding="utf-8")).by_element["style"]
    light, dark = (
        {
            name: value if len(value) == 7 else "#" + "".join(2 * c for c in value[1:])
            for name, value in re.findall(r"--([a-z-]+):(#[0-9a-f]+)", block)
        }
        for block in re.findall(r":root\{([^}]*)\}", style)
    )
    assert light.keys() == dark.keys()
    darkened = dict(re.findall(r'fill: (#[0-9a-f]{6})"\]\{fill:(#[0-9a-f]{6})', drawing.DARK))
    for mode in (light, dark):
        for text in ("ink", "muted", "accent"):
            for behind in ("surface", "page", "code", "loss-bg"):
                assert contrast(mode[text], mode[behind]) >= 4.5, (text, behind)
        assert contrast(mode["bad"], mode["bad-bg"]) >= 4.5
        assert contrast(mode["ok"], mode["ok-bg"]) >= 4.5
        for colour in (drawing.KEPT, drawing.LOST, drawing.OTHER):
            drawn = colour if mode is light else darkened[colour]
            assert contrast(drawn, mode["surface"]) >= 3


def test_the_page_begins_with_whether_the_dataset_is_fit_to_train(
    sample_page: Path, sample_out: Callable[[str], Path]
) -> None:
    read = Read(sample_page.read_text(encoding="utf-8"))
    header = " ".join(read.text[: read.text.index("Funnel")])
    over = "select count(*) from conversations where tokens > 4096"
    [(cut,)] = query(sample_out("unified-v2"), over)
    assert re.search(r"unified-v2\s+Fit to train: no\s+because 7 checks find errors: ", header)
    assert re.search(rf"answer_cut\s+\({cut} rows\),", header)
    assert "#check-eval_in_train" in read.values("href")
    assert re.search(r"Sources:\s+\S*source\S*\s*, version\s+[0-9a-f]{12}\s", header)
    assert "Emitted by immune" in header


def facts(failed: dict[str, str], train_records: int = 1) -> Facts:
    """Facts of an audit of ten checks, of which some failed, each on two rows."""
    severities = [*failed.values(), *["error"] * (10 - len(failed))]
    names = [*failed, *(f"check{i}" for i in range(10 - len(failed)))]
    audit = [
        Offence(checks.Result(checks.Check(name, "S.", severity, None, ""), 2, fails, None), [], [])
        for name, severity, fails in zip(
            names, severities, [i < len(failed) for i in range(10)], strict=True
        )
    ]
    empty: dict[str, Any] = {field.name: [] for field in dataclasses.fields(Facts)}
    return Facts(**{**empty, "audit": audit, "overview": {"train_records": train_records}})


@pytest.mark.parametrize(
    ("failed", "train_records", "fit", "because", "named"),
    [
        ({}, 1, True, "because none of 10 checks finds an error", []),
        ({"a": "info"}, 1, True, "because none of 10 checks finds an error", []),
        (
            {"a": "warn"},
            1,
            True,
            "because none of 10 checks finds an error; 1 check gives a warning",
            ["a"],
        ),
        ({"a": "error", "b": "warn"}, 1, False, "because 1 check finds errors", ["a"]),
        ({"a": "error", "b": "error"}, 1, False, "because 2 checks find errors", ["a", "b"]),
        ({}, 0, False, "because it has no train record", []),
    ],
)
def test_a_dataset_is_fit_where_no_check_finds_an_error(
    failed: dict[str, str], train_records: int, fit: bool, because: str, named: list[str]
) -> None:
    found = verdict.of(facts(failed, train_records))
    assert (found.fit, found.because) == (fit, because)
    assert found.checks == tuple((name, "2 rows") for name in named)


@pytest.mark.parametrize("which", ["sample", "hostile"])
def test_a_page_may_load_nothing(which: str, sample_page: Path, hostile_out: Path) -> None:
    path = sample_page if which == "sample" else hostile_out / "out" / "report" / "mine.html"
    read = Read(path.read_text(encoding="utf-8"))
    assert ("meta", "http-equiv", "Content-Security-Policy") in read.attributes
    [policy] = [value for value in read.values("content") if "default-src" in value]
    assert policy.startswith("default-src 'none';")
    assert "script" not in policy


def test_every_cell_says_its_column_where_a_page_is_narrow(sample_page: Path) -> None:
    read = Read(sample_page.read_text(encoding="utf-8"))
    heads = {text for text in read.by_element["th"] if text}
    labels = read.values("data-label")
    assert len(labels) == read.elements["td"]
    assert set(labels) <= heads
    # Whatever holds texts stacks; tables of numbers scroll, and show by a shade that they do.
    assert {value for value in read.values("class") if "scroll" in value} == {
        "scroll",
        "scroll stacks",
    }


def test_excerpts_show_line_breaks_and_no_part_of_a_word(sample_page: Path) -> None:
    class Excerpts(Read):
        inside = False

        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            super().handle_starttag(tag, attributes)
            self.inside = tag == "td" and ("class", "t excerpt") in attributes

        def handle_data(self, data: str) -> None:
            super().handle_data(data)
            if self.inside:
                excerpts.append(data)

    excerpts: list[str] = []
    Excerpts(sample_page.read_text(encoding="utf-8"))
    assert len(excerpts) > 5
    assert all("\n" in text and "\\n" not in text for text in excerpts)


def test_figures_that_are_files_have_titles_legends_and_axes(sample_page: Path) -> None:
    folder = sample_page.with_suffix("") / "figures"
    wanted = {
        "funnel": ("The way of the incidents", "lost at this step", "incidents"),
        "scores": ("Scores by model and task", "below it", "answers", "cause score, 0 to 30"),
        "winners": ("Who wins, and by how much", "ties with the next", "incidents"),
        "tokens": ("Conversation lengths and the context", "past it", "tokens of a conversation"),
        "evidence": ("Length of the evidence", "shown whole", "incidents"),
        "balance": ("Train and eval, value by value", "eval", "share of the split's records"),
    }
    assert list(wanted) == NAMES
    for name, texts in wanted.items():
        root = ElementTree.fromstring((folder / f"{name}.svg").read_text(encoding="utf-8"))
        drawn = ["".join(one.itertext()) for one in root.iter("{http://www.w3.org/2000/svg}text")]
        assert set(texts) <= set(drawn), name
