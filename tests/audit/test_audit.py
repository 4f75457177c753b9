"""`audit`: what it prints and writes, the funnel, the difference of two datasets, wrong uses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from conftest import Part
from corpus import Corpus, manifest, query, records
from random_corpus import EMITTED, EMITTED_CLEAN

from immune_data import recipes
from immune_data.audit import __main__ as audit
from immune_data.audit import checks, published
from immune_data.common.errors import ImmuneError
from immune_data.common.hub import revisions
from immune_data.emit import __main__ as emit
from immune_data.select.database import reading

Out = Callable[[str], Path]
Refused = Callable[..., str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """`said(code, *arguments)`: what `audit --json` prints when it exits with a code."""

    def run(code: int, *arguments: object) -> Any:
        capsys.readouterr()
        assert audit.main([*map(str, arguments), "--json"]) == code
        return json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """An output folder of our own, of a shared one."""

    def copy(out: Path) -> Path:
        shutil.copytree(out, tmp_path / "out")
        return tmp_path / "out"

    return copy


def by_name(found: list[dict[str, Any]]) -> dict[str, int]:
    return {row["check"]: row["rows"] for row in found}


def frame(out: Path, recipe: str, name: str) -> pl.DataFrame:
    with reading(out, recipe) as connection:
        return checks.rows(connection, checks.load([name])[0])


def test_the_sample_by_the_documents_fails_as_documented(
    sample_out: Out, said: Callable[..., Any], copied: Callable[[Path], Path]
) -> None:
    out = copied(sample_out("unified-v2"))
    result = said(1, "--data", out)
    rows = by_name(result)
    leaked = {row["incident_id"] for row in records(out, "eval")}
    leaks = [row for row in records(out, "train") if row["incident_id"] in leaked]
    assert rows["eval_in_train"] == len(leaks) == 124
    assert frame(out, "unified-v2", "eval_in_train")["incident_id"].n_unique() == 62
    warned = {
        (row["warning"], row["split"]): row["records"]
        for row in manifest(out)["counts"]["warnings"]
    }
    over = sum(warned.get(("over the context", split), 0) for split in ("train", "eval"))
    lost = sum(
        warned.get(("whole answer past the context", split), 0) for split in ("train", "eval")
    )
    assert rows["over_context"] == over > 0
    assert (rows["answer_cut"], rows["answer_lost"]) == (over - lost, lost)
    assert rows["unaccounted"] == rows["held_out_in_train"] == 0
    priorities = frame(out, "unified-v2", "structure").filter(
        pl.col("missing") == ["investigation_priority"]
    )
    assert 5 < len(priorities) < 20  # planted
    for row in result:
        path = out / "audit" / "unified-v2" / f"{row['check']}.parquet"
        assert path.is_file() == (row["status"] == "failed") == (row["rows"] > 0)
        if path.is_file():
            kept = pl.read_parquet(path)
            assert len(kept) == row["rows"]
            if row["first_incident"]:
                assert kept["incident_id"][0] == row["first_incident"]
    assert not (out / "audit" / "unified-v2" / ".unfinished").exists()


def test_the_real_set_by_the_documents(real_out: Out) -> None:
    out = real_out("unified-v2")
    assert len(frame(out, "unified-v2", "eval_in_train")) == 6
    assert frame(out, "unified-v2", "eval_in_train")["incident_id"].n_unique() == 3
    over = query(out, "select count(*) from conversations where tokens > 4096")
    cut = frame(out, "unified-v2", "answer_cut"), frame(out, "unified-v2", "answer_lost")
    assert [(sum(map(len, cut)),)] == over
    assert over > [(0,)]


@pytest.mark.parametrize("recipe", ["unified-v2", "unified-clean"])
def test_the_real_set_holds_what_its_readme_counts(recipe: str, real_out: Out) -> None:
    out = real_out(recipe)
    tokens = frame(out, recipe, "control_token_in_responses")
    assert tokens.select("task", "model", "tokens").rows() == [
        ("cause", "qwen2.5-1.5b", ["<|im_start|>"])
    ]
    assert tokens["incident_id"][0].startswith("6d939c33-")
    fences = frame(out, recipe, "code_fence_in_responses").filter(pl.col("at_start"))
    assert len(fences) == 447
    assert len(fences.filter(model="gpt-4o", task="summary")) == 409
    errors = frame(out, recipe, "error_text_in_responses").filter(task="summary")
    assert len(errors) == 95
    # The documents count three placeholders; the check knows their relatives too.
    echoed = frame(out, recipe, "placeholder_in_responses").filter(
        pl.col("placeholders").list.eval(pl.element().is_in(["HH:MM", "YOUR_ASSESSED"])).list.any()
        | pl.col("placeholders").list.contains("[Your clear")
        | pl.col("placeholders").list.contains("[Your clear and concise grouped summary")
    )
    assert len(echoed) == 173
    assert echoed["task"].unique().to_list() == ["summary"]


def test_the_clean_recipe_has_no_error(
    sample_out: Out, real_out: Out, said: Callable[..., Any], tmp_path: Path
) -> None:
    for number, out in enumerate((sample_out("unified-clean"), real_out("unified-clean"))):
        mine = tmp_path / str(number)
        shutil.copytree(out, mine)
        result = said(0, "--data", mine, "--recipe", "unified-clean")
        errors = [row for row in result if row["severity"] == "error"]
        assert len(errors) >= 8
        assert {row["status"] for row in errors} == {"passed"}


def test_a_line_a_check_and_how_to_see_its_rows(
    clean_small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert audit.main(["tie", "over_context", "eval_in_train", "--data", str(clean_small)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:4] for line in lines[1:4]] == [
        ["ok", "error", "eval_in_train", "0"],
        ["ok", "warn", "over_context", "0"],
        ["ok", "info", "tie", "0"],
    ]
    assert audit.main(["dag_cut", "not_emitted", "--data", str(clean_small)]) == 0
    [line] = [x for x in capsys.readouterr().out.splitlines() if x.split()[2:3] == ["not_emitted"]]
    assert line.startswith("found ")
    assert "python -m immune_data.sql " in line
    assert "not_emitted.sql" in line
    assert f"--data {clean_small}" in line


def test_rows_of_a_check_that_passes_now_are_removed(clean_small: Path) -> None:
    stale = clean_small / "audit" / "unified-v2" / "tie.parquet"
    stale.parent.mkdir(parents=True)
    stale.write_bytes(b"old")
    assert audit.main(["over_context", "--data", str(clean_small)]) == 0
    assert stale.exists()
    assert audit.main(["tie", "--data", str(clean_small)]) == 0
    assert not stale.exists()


def test_checks_are_listed(capsys: pytest.CaptureFixture[str], said: Callable[..., Any]) -> None:
    assert audit.main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        [check.severity, check.name] for check in checks.load()
    ]
    assert [row["name"] for row in said(0, "--list")] == [check.name for check in checks.load()]


@pytest.fixture(scope="module")
def _small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few incidents, one of them without a verdict."""
    folder = tmp_path_factory.mktemp("small")
    corpus = Corpus().incidents("abcdef").incident("g", cause=None, risk=None)
    emit.emit(corpus.write(folder / "source"), folder / "out", recipes.load("unified-v2"))
    with duckdb.connect(str(folder / "out" / "immune.duckdb")) as connection:
        connection.execute(
            "delete from \"unified-v2\".conversations where split = 'train' and incident_id in "
            "(select incident_id from \"unified-v2\".conversations where split = 'eval')"
        )
    return folder / "out"


@pytest.fixture
def clean_small(_small: Path, copied: Callable[[Path], Path]) -> Path:
    """A copy of it."""
    return copied(_small)


HELD_OUT = {
    "a line": ("{0}\n\n", 1),
    "lines of Windows": ("\ufeff{0}\r\nnobody\r\n", 2),
    "a line between others": ("\n  {0}\t\n nobody\nnor I\n", 3),
    "the same twice": ("{0}\n{0}\n", 1),
    "an object": ('{{"incident_id": "{0}", "x": 1}}', 1),
    "lines of objects": ('{{"incident_id": "nobody"}}\n{{"incident_id": "{0}"}}\n', 2),
    "lines of strings": ('"{0}"\n"nobody"\n', 2),
    "an array": ('["nobody",\n "{0}"]', 2),
    "an array of objects": ('[{{"incident_id": "{0}", "x": [1]}}]\n', 1),
    "a source file": ('{{"made": 1, "incidents": [{{"incident_id": "{0}"}}, "nobody"]}}', 2),
}


# Forms of files are read by code that knows no letter case: one form is read in every case.
_CASES = [
    pytest.param(*HELD_OUT[form], case, id=f"{form}-{case.__name__}")
    for form in HELD_OUT
    for case in ((str, str.upper, str.title) if form == "a line" else (str.title,))
]


@pytest.mark.parametrize(("content", "ids", "case"), _CASES)
def test_held_out_incidents_are_found_in_train(
    content: str,
    ids: int,
    case: Callable[[str], str],
    clean_small: Path,
    tmp_path: Path,
    said: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    [(held,)] = query(
        clean_small, "select min(incident_id) from conversations where split = 'train'"
    )
    (tmp_path / "ids").write_text(content.format(case(held)), encoding="utf-8")
    arguments = ["held_out_in_train", "--data", clean_small]
    assert by_name(said(0, *arguments)) == {"held_out_in_train": 0}
    [found] = said(1, *arguments, "--held-out", tmp_path / "ids")
    assert (found["rows"], found["first_incident"]) == (3, held)
    assert found["shows"].startswith("python -m immune_data.sql ")
    assert pl.read_parquet(found["parquet"])["incident_id"].to_list() == [held] * 3
    assert audit.main([*map(str, arguments), "--held-out", str(tmp_path / "ids")]) == 1
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith(f"held out: 1 of {ids} id{'' if ids == 1 else 's'} is known")
    assert ("; unknown: nobody" in first) == (ids > 1)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Two corpora for each recipe; thorough, five."""
    if {"seed", "recipe"} <= {*metafunc.fixturenames}:
        few = [case for case in EMITTED if case[1] in ACCOUNTED] + EMITTED_CLEAN[:2]
        every = [(seed, recipe) for seed in range(5) for recipe in ACCOUNTED]
        thorough = metafunc.config.getoption("--thorough")
        metafunc.parametrize(("seed", "recipe"), every if thorough else few)


ACCOUNTED = ("unified-v2", "unified-clean", "risk")


def test_every_incident_is_accounted_for(
    seed: int, recipe: str, random_part: Callable[[int, str], Part]
) -> None:
    """One account for each incident and task, and as many of each reason as the funnel lost."""
    out = random_part(seed, recipe).out

    def asked(sql: str) -> list[tuple]:
        return query(out, sql, recipe)

    every = asked("select incident_id from main.incidents")
    accounts = asked("select incident_id, task, splits, records, reason from accounts")
    assert sorted((incident, task) for incident, task, *_ in accounts) == sorted(
        (incident, task) for (incident,) in every for task in ("summary", "cause", "risk")
    )
    emitted: dict[tuple[str, str], list[str]] = {}
    for split in ("train", "eval"):
        for row in records(out, split, recipe):
            emitted.setdefault((row["incident_id"], row["task"]), []).append(split)
    for incident, task, splits, number, reason in accounts:
        there = emitted.get((incident, task), [])
        assert (splits or []) == sorted(set(there))
        assert number == len(there)
        assert (reason is None) == bool(there)
    if recipe != "risk":
        lost: dict[str, int] = {}
        for step, missing, why in asked("select step, lost, why from funnel"):
            if step == "risk judged":
                break
            if why and missing:
                lost[why] = lost.get(why, 0) + missing
        told: dict[str, int] = {}
        for _, task, _, _, reason in accounts:
            if task == "summary" and reason:
                last = reason in ("a winner without an answer", "no evidence")
                why = "a winner without an answer, or no evidence" if last else reason
                told[why] = told.get(why, 0) + 1
        assert told == lost
    assert len(frame(out, recipe, "unaccounted")) == 0


def test_the_funnel_accounts_for_all(
    sample_out: Out, said: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    out = sample_out("unified-v2")
    result = said(0, "funnel", "--data", out)
    assert result["funnel"] == manifest(out)["counts"]["funnel"]
    for task in ("summary", "cause", "risk"):
        assert sum(row[task] for row in result["accounts"]) == 961
    assert audit.main(["funnel", "--data", str(out)]) == 0
    text = capsys.readouterr().out
    assert "missing from a dataset" in text
    assert "every source incident" in text


def test_eval_incidents_of_all_recipes_are_kept(sample_out: Out, tmp_path: Path) -> None:
    out = sample_out("unified-clean")
    kept = query(out, "select recipe, count(*) from main.eval_incidents group by all order by all")
    assert kept == [("unified-clean", 71), ("unified-v2", 75)]
    others = frame(out, "unified-clean", "other_eval_in_train")
    assert set(others["evaluated_by"]) == {"unified-v2"}


def folder(path: Path, train: list[dict[str, Any]], held: list[dict[str, Any]]) -> Path:
    path.mkdir()
    for split, rows in (("train", train), ("eval", held)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (path / f"{split}.jsonl").write_text(text, encoding="utf-8")
    return path


def test_a_difference_is_told_by_incident_and_task(
    standing_out: Path, tmp_path: Path, said: Callable[..., Any]
) -> None:
    train, held = records(standing_out, "train"), records(standing_out, "eval")
    first = folder(tmp_path / "first", train, held)
    assert said(0, "diff", first, standing_out / "sft" / "unified-v2")["equal"]
    reordered = said(1, "diff", first, folder(tmp_path / "turned", train[::-1], held))
    assert (reordered["rows"], reordered["reordered"]) == ([], ["train"])

    changed = json.loads(json.dumps(train))
    [gone, told, shown, added] = [changed[0], changed[1], changed[2], dict(changed[0])]
    told["messages"][-1]["content"] += " More."
    shown["messages"][0]["content"] += " More."
    shown["tokens"] += 2
    added["incident_id"] = "zz"
    result = said(1, "diff", first, folder(tmp_path / "second", [*changed[1:], added], held))
    assert {(row["incident_id"], row["task"]): row for row in result["rows"]}.keys() == {
        (row["incident_id"], row["task"]) for row in (gone, told, shown, added)
    }
    rows = {(row["incident_id"], row["task"]): row for row in result["rows"]}
    told_as = {key: (row["difference"], row["fields"]) for key, row in rows.items()}
    assert told_as[gone["incident_id"], gone["task"]][0] == (
        "changed" if any(_same(row, gone) for row in changed[1:]) else "missing"
    )
    assert told_as["zz", added["task"]][0] == "added"
    assert told_as[told["incident_id"], told["task"]] == ("changed", ["answer"])
    assert told_as[shown["incident_id"], shown["task"]] == ("changed", ["tokens", "prompt"])


def _same(row: dict[str, Any], other: dict[str, Any]) -> bool:
    return (row["incident_id"], row["task"]) == (other["incident_id"], other["task"])


def test_a_difference_is_shown(sample_out: Out, capsys: pytest.CaptureFixture[str]) -> None:
    sft = sample_out("unified-clean") / "sft"
    assert audit.main(["diff", str(sft / "unified-v2"), str(sft / "unified-clean")]) == 1
    text = capsys.readouterr().out
    assert "missing from" in text
    assert "--json prints all" in text
    assert audit.main(["diff", str(sft / "unified-v2"), str(sft / "unified-v2")]) == 0


def test_a_difference_names_every_incident_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [f"0c40a3eb-ba5e-4d0e-81d6-3954a4e5561{letter}" for letter in "0123456789abcdef"]
    source = Corpus().incidents(ids).write(tmp_path / "source")
    assert emit.main(["--source", str(source), "--data", str(tmp_path)]) == 0
    whole = tmp_path / "sft" / "unified-v2"
    shutil.copytree(whole, tmp_path / "none")
    (tmp_path / "none" / "train.jsonl").write_text("")
    trained = {row["incident_id"] for row in records(tmp_path, "train")}
    for columns in (20, 80):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes it for a terminal
        capsys.readouterr()
        assert audit.main(["diff", str(whole), str(tmp_path / "none")]) == 1
        text = capsys.readouterr().out
        named = sorted(one for one in trained if one in text)
        assert named == sorted(trained)[: len(named)]
        assert len(named) >= 6


@pytest.mark.parametrize(
    "order",
    ["diff --json A B", "--json diff A B", "diff A --json B", "diff A B --json"],
)
def test_options_stand_anywhere_among_folders(
    order: str, standing_out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = dict.fromkeys("AB", str(standing_out / "sft" / "unified-v2"))
    assert audit.main([folders.get(word, word) for word in order.split()]) == 0
    assert json.loads(capsys.readouterr().out)["equal"] is True


def test_options_stand_anywhere_among_checks(
    standing_out: Path, copied: Callable[[Path], Path], said: Callable[..., Any]
) -> None:
    copy = copied(standing_out)
    for order in (["tie", "--data", copy, "rejects"], ["--data", copy, "tie", "rejects"]):
        assert by_name(said(0, *order)).keys() == {"tie", "rejects"}


def publish(out: Path, recipe: str, into: Path) -> Path:
    """The files of a dataset as they are published."""
    (into / "tables").mkdir(parents=True)
    (into / recipe / "relations").mkdir(parents=True)
    with duckdb.connect(str(out / "immune.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            "select schema_name, table_name from duckdb_tables() where schema_name in ('main', ?)",
            [recipe],
        ).fetchall()
        for schema, name in rows:
            where = into / ("tables" if schema == "main" else f"{recipe}/relations")
            connection.execute(f'copy "{schema}"."{name}" to \'{where}/{name}.parquet\'')
    return into


def test_a_published_dataset_is_audited(
    real_out: Out, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[..., Any]
) -> None:
    out = real_out("unified-v2")
    folder = publish(out, "unified-v2", tmp_path / "hub")
    asked = []

    def download(repo_id: str, **how: Any) -> str:
        asked.append((repo_id, how["repo_type"], how["revision"]))
        return str(folder)

    commit = "0f" * 20
    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    monkeypatch.setattr(revisions, "commit", lambda *asked: asked[2] and commit)
    mine = tmp_path / "out"
    found = said(1, "--dataset", "hf://datasets/org/name@v1", "--data", mine)
    assert asked == [("org/name", "dataset", commit)]
    with reading(out, "unified-v2") as connection:
        assert by_name(found) == {
            result.check.name: result.rows for result in checks.run(connection, checks.load())
        }
    kept = mine / "audit" / "org" / "name" / "unified-v2" / "eval_in_train.parquet"
    assert len(pl.read_parquet(kept)) == 6
    assert [str(kept) in row["shows"] for row in found if row["check"] == "eval_in_train"] == [True]
    checked = by_name(said(1, "eval_in_train", "tie", "--dataset", folder, "--data", mine))
    assert checked.items() <= by_name(found).items()
    assert len(checked) == 2
    assert len(pl.read_parquet(mine / "audit" / "hub" / "unified-v2" / kept.name)) == 6
    with pytest.raises(ImmuneError, match=r"has no recipe risk: .*unified-v2"):
        published.load(folder, tmp_path, ["risk"])


def test_the_commands_that_show_rows_of_a_published_dataset_run(
    sample_out: Out, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[..., Any]
) -> None:
    folder = publish(sample_out("unified-v2"), "unified-v2", tmp_path / "hub")
    monkeypatch.chdir(tmp_path)  # where nothing was emitted
    actual = [row for row in said(1, "--dataset", folder, "eval_in_train", "tie") if row["rows"]]
    assert len(actual) == 2
    for row in actual:
        command = row["shows"].replace("python", sys.executable, 1)
        done = subprocess.run(
            ["bash", "-c", f"{command} --json"], capture_output=True, text=True, check=True
        )
        assert len(json.loads(done.stdout)) == row["rows"]


def test_a_folder_that_cannot_be_written_to_is_audited(
    sample_out: Out, copied: Callable[[Path], Path]
) -> None:
    out = copied(sample_out("unified-v2"))
    # Root may write to what is read-only, unless that right is taken from it.
    alone = ["setpriv", "--bounding-set=-dac_override"] if os.geteuid() == 0 else []
    ids = out.parent / "ids"
    ids.write_text(records(out, "train")[0]["incident_id"])
    out.chmod(0o555)
    try:
        command = [*alone, sys.executable, "-m", "immune_data.audit", "--data", out, "--held-out"]
        done = subprocess.run(
            [*map(str, command), str(ids), "eval_in_train", "held_out_in_train", "--json"],
            capture_output=True,
            text=True,
        )
    finally:
        out.chmod(0o755)
    assert done.returncode == 1, done.stderr
    assert f"are not kept: cannot write to {out / 'audit' / 'unified-v2'}" in done.stderr
    result = json.loads(done.stdout)
    assert by_name(result) == {"eval_in_train": 124, "held_out_in_train": 3}
    assert [(row["parquet"], row["shows"]) for row in result] == [(None, None)] * 2
    assert not (out / "audit").exists()


def _hub_error(name: str) -> Exception:
    from huggingface_hub import errors

    kind = getattr(errors, name)
    if name == "LocalEntryNotFoundError":
        return kind("no network")
    return kind.__new__(kind)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("GatedRepoError", "is gated"),
        ("RepositoryNotFoundError", "there is no dataset org/name"),
        ("RevisionNotFoundError", "no revision v9"),
        ("LocalEntryNotFoundError", "cannot be reached"),
    ],
)
def test_what_the_hub_refuses_is_a_sentence(
    name: str, words: str, refused: Refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def ask(*_: Any, **how: Any) -> str:
        raise _hub_error(name)

    monkeypatch.setattr("huggingface_hub.HfApi.repo_info", ask)
    message = refused(
        audit.main, "--dataset", "hf://datasets/org/name@v9", "--data", tmp_path / "out"
    )
    assert words in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["eval_in_trian"], "no check eval_in_trian: did you mean eval_in_train"),
        (["xyzzy"], "--list"),
        (["--recipe", "risk"], "and not risk: emit it"),
        (["--held-out", "nothing.txt"], "cannot read nothing.txt"),
        (["--held-out", "{tmp}/empty"], "has no incident id"),
        (["--held-out", "{tmp}/broken"], "line 2 of {tmp}/broken is not JSON"),
        (["--held-out", "{tmp}/nameless"], "entry 1 of {tmp}/nameless has no incident_id"),
        (["--held-out", "{tmp}/bytes"], "is not UTF-8"),
        (["--held-out", "{tmp}/numbers"], "entry 2 of {tmp}/numbers is not an incident id"),
        (["--held-out", "{tmp}/cut"], "line 1 of {tmp}/cut is not JSON"),
        (["--held-out", "{tmp}/no-ids"], "has no incident id"),
        (["--held-out", "{tmp}/strange"], "no incident has any of the ids in {tmp}/strange, such"),
        (["funnel", "--held-out", "{tmp}/strange"], "`audit funnel` has no use for --held-out"),
        (["--list", "--held-out", "{tmp}/strange"], "`audit --list` has no use for --held-out"),
        (["--list", "--dataset", "hf://datasets/a/b"], "`audit --list` has no use for --dataset"),
        (
            ["diff", "{tmp}", "{tmp}", "--held-out", "x", "--recipe", "risk"],
            "`audit diff` has no use for --held-out and --recipe: leave",
        ),
        (["tie", "--held-out", "{tmp}/strange"], "is for the check held_out_in_train: name it"),
        (
            ["--dataset", "https://huggingface.co/datasets/a/b"],
            "write hf://datasets/ORG/NAME[@REV]",
        ),
        (["--dataset", "hf://datasets/a"], "write hf://datasets/ORG/NAME[@REV]"),
        (["funnel", "tie"], "takes no checks"),
        (["diff", "one"], "takes two folders"),
        (["diff", "one", "two"], "one/train.jsonl does not exist"),
        (["diff", "{tmp}", "{tmp}"], "does not contain emitted records"),
    ],
)
def test_wrong_uses_are_sentences(
    arguments: list[str], words: str, standing_out: Path, tmp_path: Path, refused: Refused
) -> None:
    (tmp_path / "empty").write_text("\n \n")
    (tmp_path / "broken").write_text('{"incident_id": "a"}\n{"incident_id"\n')
    (tmp_path / "nameless").write_text('{"id": "a"}\n')
    (tmp_path / "numbers").write_text('["a", 1]')
    (tmp_path / "cut").write_text('["a",\n"b"')
    (tmp_path / "no-ids").write_text("[]")
    (tmp_path / "strange").write_text("nobody\n\x1b[2Jnobody-else\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "train.jsonl").write_text("nothing\n")
    (tmp_path / "eval.jsonl").write_text("")
    given = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    message = refused(audit.main, *given, "--data", standing_out)
    assert words.replace("{tmp}", str(tmp_path)) in message


def test_without_a_database_nothing_is_made(tmp_path: Path, refused: Refused) -> None:
    assert "does not exist: emit" in refused(audit.main, "--data", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
