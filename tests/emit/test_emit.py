"""`emit`, from source folder to JSONL: what it writes, when it works, and what it leaves alone."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import warm
from conftest import Part
from corpus import (
    CAUSE_RISK,
    CAUSE_RISK_RUN,
    DATASETS,
    RUN_1,
    SUMMARIES,
    TASKS,
    Corpus,
    digests,
    manifest,
    query,
    records,
    table,
)

import immune_data
from immune_data import recipes
from immune_data.common.errors import ImmuneError
from immune_data.emit import __main__ as emit
from immune_data.emit import build
from immune_data.select import pipeline, steps

KEYS = ["messages", "incident_id", "task", "model", "score", "dag_truncated", "origin", "tokens"]
MARKER = "[truncated: showing first ~3500 tokens of full DAG]"
RELATIONS = {
    *("settings", "pool", "gates", "best_responses", "splits", "risk_gates", "risk_splits"),
    *("risk_only", "sft_records", "funnel"),
}
SAMPLE = ("unified-v1", "unified-v2", "unified-v3", "risk", "published")
TABLES = {
    *("incidents", "dags", "responses", "judgements", "judge_calls"),
    *("judge_runs", "justifications"),
    *("source_files", "rejects"),
}

Out = Callable[[str], Path]


def run(source: Path, out: Path, *arguments: str) -> None:
    command = ["--source", str(source), "--data", str(out), *arguments]
    assert emit.main(command) == 0


def says(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """What `emit --json` says."""
    capsys.readouterr()
    assert emit.main([*map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def jsonl(out: Path, recipe: str = "unified-v2") -> dict[str, bytes]:
    return {
        split: (out / "sft" / recipe / f"{split}.jsonl").read_bytes() for split in ("train", "eval")
    }


def marks(folder: Path) -> dict[Path, tuple[int, int, int]]:
    """What a file that is written anew cannot keep."""
    return {
        path: ((stat := path.stat()).st_mtime_ns, stat.st_ino, stat.st_size)
        for path in folder.rglob("*")
    }


def numbers(text: str) -> list[int]:
    return [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", text)]


@pytest.fixture(scope="module")
def _twenty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("twenty")
    Corpus().incidents("abcdefghijklmnopqrst", summary_dag="").write(folder / "source")
    run(folder / "source", folder / "out")
    return folder


@pytest.fixture
def source(_twenty: Path, tmp_path: Path) -> Path:
    """Twenty incidents: 18 train, 2 eval."""
    return Path(shutil.copytree(_twenty / "source", tmp_path / "source"))


@pytest.fixture
def out(_twenty: Path, tmp_path: Path) -> Path:
    """What a run made of them."""
    return Path(shutil.copytree(_twenty / "out", tmp_path / "out"))


# The documented counts

COUNTS = {
    "unified-v2": (675 + 760 + 760, {"summary": 675, "cause": 760, "risk": 760}, 225),
    "published": (675 + 760 + 760, {"summary": 675, "cause": 760, "risk": 760}, 225),
    "unified-v1": (2025, {"summary": 675, "cause": 675, "risk": 675}, 225),
    "unified-v3": (3715, {"summary": 675, "cause": 1520, "risk": 1520}, 225),
    "risk": (1328, {"cause": 664, "risk": 664}, 148),
}


@pytest.mark.parametrize("recipe", COUNTS)
def test_every_recipe_gives_its_documented_records(recipe: str, sample_out: Out) -> None:
    train, tasks, held_out = COUNTS[recipe]
    emitted_records = records(sample_out(recipe), "train", recipe)
    assert len(emitted_records) == train
    assert Counter(record["task"] for record in emitted_records) == tasks
    emitted_records = records(sample_out(recipe), "eval", recipe)
    assert len(emitted_records) == held_out
    assert len(Counter(record["task"] for record in emitted_records)) == len(tasks)
    counted = {
        (row["split"], row["task"]): row["records"]
        for row in manifest(sample_out(recipe), recipe)["counts"]["tasks"]
    }
    assert {task: counted["train", task] for task in tasks} == tasks
    assert sum(counted["eval", task] for task in tasks) == held_out


def test_the_funnel_is_the_documented_one(sample_out: Out) -> None:
    out = sample_out("unified-v2")
    assert query(
        out,
        """select
            (select count(*) from incidents where in_summaries),
            (select count(*) from incidents where in_cause_risk),
            (select count(*) from pool),
            (select count(*) from gates where passed),
            (select count(*) from splits where split = 'train'),
            (select count(*) from splits where split = 'eval'),
            (select count(*) from risk_gates where passed),
            (select count(*) from risk_splits where split = 'train'),
            (select count(*) from risk_splits where split = 'eval'),
            (select count(*) from risk_only)""",
    ) == [(961, 826, 802, 750, 675, 75, 738, 664, 74, 85)]
    funnel = manifest(out)["counts"]["funnel"]
    left = {row["step"]: row["incidents"] for row in funnel}
    assert [left[step] for step in ("read", "both datasets", "pool")] == [961, 826, 802]
    assert [left[step] for step in ("train", "eval", "risk train split")] == [675, 75, 664]
    assert {750, 738, 85} <= set(left.values())
    assert [tuple(row.values()) for row in funnel] == query(out, "from funnel")
    for row in funnel:
        assert set(row) == {"step", "incidents", "records", "lost", "why"}
        assert (row["why"] is None) == (row["lost"] == 0)
    # Every gate takes some, and each verdict is the first gate failed.
    lost = Counter(verdict for (verdict,) in query(out, "select verdict from gates"))
    assert lost.pop(None) == 750
    assert set(lost) == {
        *("summary_score", "cause_score", "risk_score"),
        *("summary_length", "cause_length", "risk_length", "risk_level"),
    }
    assert sum(lost.values()) == 52


def test_augmentation_takes_the_documented_incidents(sample_out: Out) -> None:
    out = sample_out("unified-v2")
    outside = query(
        out,
        """select
            count(*) filter (where splits.split = 'eval'),
            count(*) filter (where not gates.passed),
            count(*) filter (where gates.incident_id is null)
        from risk_gates
        left join splits using (incident_id)
        left join gates using (incident_id)
        where splits.split is distinct from 'train'""",
    )
    assert outside == [(75, 52, 24)]


def test_recipes_differ_only_in_what_they_say(sample_out: Out) -> None:
    v2 = records(sample_out("unified-v2"), "train")
    assert records(sample_out("unified-v1"), "train", "unified-v1") == v2[:2025]
    assert all(record["origin"] == "unified" for record in v2[:2025])
    assert all(record["origin"] == "risk_only" for record in v2[2025:])
    # The copies come after the originals, in their order.
    copies = [record for record in v2 if record["task"] != "summary"]
    assert records(sample_out("unified-v3"), "train", "unified-v3") == v2 + copies
    for recipe in ("unified-v1", "unified-v3"):
        assert jsonl(sample_out(recipe), recipe)["eval"] == jsonl(sample_out("unified-v2"))["eval"]
    # `published` cuts evidence elsewhere, and is the same in all else.
    published = records(sample_out("published"), "train", "published")
    assert published != v2
    kept = ("incident_id", "task", "model", "score", "origin")
    assert [[r[key] for key in kept] for r in published] == [[r[key] for key in kept] for r in v2]
    assert [r["messages"][-1] for r in published] == [r["messages"][-1] for r in v2]
    # What `unified-v2` appends stands in the same order in the train split of `risk`.
    risk = records(sample_out("risk"), "train", "risk")
    appended = {json.dumps(record) for record in v2[2025:]}
    assert [record for record in risk if json.dumps(record) in appended] == v2[2025:]
    assert len(appended) == 170


@pytest.mark.parametrize("recipe", ["published", "unified-v2"])
def test_the_real_set_gives_its_known_counts(recipe: str, real_out: Out) -> None:
    out = real_out(recipe)
    assert query(
        out,
        """select
            (select count(*) from pool),
            (select count(*) from gates where passed),
            (select count(*) from splits where split = 'train'),
            (select count(*) from splits where split = 'eval'),
            (select count(*) from risk_gates where passed)""",
        recipe,
    ) == [(39, 39, 35, 4, 40)]
    train, held_out = records(out, "train", recipe), records(out, "eval", recipe)
    assert (len(train), len(held_out)) == (105 + 6, 12)
    assert [record["origin"] for record in train] == ["unified"] * 105 + ["risk_only"] * 6
    eval_incidents = {record["incident_id"] for record in held_out}
    assert len(eval_incidents) == 4
    assert len(eval_incidents & {record["incident_id"] for record in train}) == 3
    assert table(out, "rejects") == []


@pytest.mark.parametrize("recipe", ["published", "unified-v2"])
def test_the_real_set_gives_the_warnings_that_follow(
    recipe: str,
    real_source: Path,
    real_out: Out,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import tiktoken

    encoding = tiktoken.get_encoding("qwen2.5")
    out = real_out(recipe)
    over: Counter[str] = Counter()
    lost: Counter[str] = Counter()
    for split in ("train", "eval"):
        for record in records(out, split, recipe):
            turns = [(message["role"], message["content"]) for message in record["messages"]]
            if turns[0][0] != "system":
                default = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
                turns.insert(0, ("system", default))
            text = "".join(f"<|im_start|>{role}\n{lines}<|im_end|>\n" for role, lines in turns)
            assert "<|im_" not in "".join(lines for _, lines in turns)
            control = {"<|im_start|>", "<|im_end|>"}
            tokens = encoding.encode(unicodedata.normalize("NFC", text), allowed_special=control)
            assert record["tokens"] == len(tokens)
            over[split] += len(tokens) > 4096
            start = (
                len(tokens) - 1 - tokens[::-1].index(encoding.encode_single_token("<|im_start|>"))
            )
            lost[split] += start + 3 >= 4096  # <|im_start|>, assistant, a line end
    shutil.copytree(out, tmp_path, dirs_exist_ok=True)
    capsys.readouterr()
    run(real_source, tmp_path, "--recipe", recipe)
    lines = [line for line in capsys.readouterr().out.splitlines() if "warning: " in line]
    assert numbers(next(line for line in lines if "eval incidents" in line)) == [6, 3]
    for split in ("train", "eval"):
        longer = [line for line in lines if "longer than" in line and split in line]
        assert [numbers(line)[0] for line in longer] == [over[split]] * (over[split] > 0)
        whole = [line for line in lines if "whole answer" in line and split in line]
        assert [numbers(line)[0] for line in whole] == [lost[split]] * (lost[split] > 0)
    assert not any("added tokens" in line for line in lines)
    assert over["train"] > 0
    if recipe == "published":
        assert lost["train"] > 0


def test_what_a_warning_counts_stands_in_the_records(sample_out: Out) -> None:
    for recipe in ("unified-v2", "published"):
        out = sample_out(recipe)
        actual = {
            (row["warning"], row["split"]): (row["records"], row["incidents"])
            for row in manifest(out, recipe)["counts"]["warnings"]
        }
        held_out = {record["incident_id"] for record in records(out, "eval", recipe)}
        leaked = [r for r in records(out, "train", recipe) if r["incident_id"] in held_out]
        leaked_incidents = len({record["incident_id"] for record in leaked})
        assert actual["eval incident in train", "train"] == (len(leaked), leaked_incidents)
        for split in ("train", "eval"):
            mine = records(out, split, recipe)
            longer = sum(record["tokens"] > 4096 for record in mine)
            assert actual["over the context", split][0] == longer
            marked = sum("<|im_" in json.dumps(record["messages"]) for record in mine)
            assert actual.get(("control token as text", split), (0,))[0] == marked
        assert marked + actual["control token as text", "train"][0] == 1
    assert actual["whole answer past the context", "train"][0] > 0


# The records


@pytest.mark.parametrize("recipe", SAMPLE)
def test_a_record_has_its_keys_in_order_and_their_types(recipe: str, sample_out: Out) -> None:
    out = sample_out(recipe)
    dags = {(r["incident_id"], r["dataset"]): r["text"] for r in table(out, "dags")}
    for split, data in jsonl(out, recipe).items():
        assert data.endswith(b"}\n")
        assert b"\r" not in data
        assert not data.startswith(b"\xef\xbb\xbf")
        lines = data.decode("utf-8").split("\n")[:-1]
        assert len(lines) == len(records(out, split, recipe))
        seen_truncated = set()
        for line in lines:
            record = json.loads(line)
            assert list(record) == KEYS
            roles = [message["role"] for message in record["messages"]]
            assert all(list(message) == ["role", "content"] for message in record["messages"])
            task = record["task"]
            assert roles == ["system"] * (task == "summary") + ["user", "assistant"]
            texts = [message["content"] for message in record["messages"]]
            assert all(isinstance(text, str) and text.strip() for text in texts)
            assert task in TASKS
            assert record["model"] in ("gpt-4o", "gpt-4o-mini", "qwen2.5-3b", "qwen2.5-1.5b")
            assert type(record["score"]) in (int, float)
            assert type(record["dag_truncated"]) is bool
            assert record["origin"] in ("unified", "risk_only")
            assert type(record["tokens"]) is int
            seen_truncated.add(record["dag_truncated"])
            # Evidence stands at the end of what the user says: whole, or whole lines of it and
            # the marker.
            incident = record["incident_id"]
            whole = dags.get((incident, "cause_risk")) or dags[incident, "summaries"]
            shown = texts[-2] if task == "summary" else texts[-2].partition("\nEvidence:\n")[2]
            assert shown.endswith(MARKER) == record["dag_truncated"]
            if record["dag_truncated"]:
                kept = shown.removesuffix(MARKER)
                assert whole.startswith(kept)
                assert kept.endswith("\n")
                assert kept != whole
            else:
                assert shown == whole
        assert seen_truncated == {True, False}


def test_text_is_written_as_it_is_and_not_escaped(sample_out: Out, real_out: Out) -> None:
    for out in (sample_out("unified-v2"), real_out("unified-v2")):
        data = jsonl(out)["train"]
        assert "•".encode() in data
        assert b"\\u2022" not in data


HOSTILE = (
    "{evidence} {incident_id} {source_ip} {} {{x}} {0} %s %(a)s $1 ${HOME} $$ \\1 \\g<0> \\n \\\\\n"
    "<b>&amp;</b> 'quoted' \"double\" ` # -- ; drop table x; /* */ é 𝄞 😀 \u2028 \x7f \ttab\r\n"
    "\n  \n{event_count}\\"
)


def test_braces_dollars_and_backslashes_survive_everywhere(tmp_path: Path) -> None:
    facts = {
        "source_ip": "{evidence}",
        "timewindow": "{timeline}\\1",
        "timeline": "$0 {threat_level}",
    }
    answers = {
        "gpt-4o": {
            "summary": "s" * 200 + HOSTILE,
            "cause": "c" * 200 + HOSTILE,
            "risk": "HIGH " * 30 + HOSTILE,
        }
    }
    corpus = Corpus().incident("{evidence}", dag=HOSTILE, answers=answers, facts=facts)
    corpus.incidents("bc")
    run(corpus.write(tmp_path / "source"), tmp_path / "out", "--json")
    emitted_records = [*records(tmp_path / "out", "train"), *records(tmp_path / "out", "eval")]
    mine = {r["task"]: r["messages"] for r in emitted_records if r["incident_id"] == "{evidence}"}
    assert set(mine) == set(TASKS)
    assert mine["summary"][-2]["content"] == HOSTILE
    for task in ("cause", "risk"):
        asked = mine[task][0]["content"]
        assert asked.endswith("Evidence:\n" + HOSTILE)
        facts_shown = asked.removesuffix(HOSTILE)
        assert "Incident: {evidence}\nSource IP: {evidence}\n" in facts_shown
        assert "Time window: {timeline}\\1\nTimeline: $0 {threat_level}\n" in facts_shown
    for task in TASKS:
        assert mine[task][-1]["content"] == answers["gpt-4o"][task]


def test_prompts_are_the_users_own(tmp_path: Path, source: Path) -> None:
    prompts = tmp_path / "own" / "prompts"
    prompts.mkdir(parents=True)
    for task in TASKS:
        (prompts / f"{task}.user.txt").write_text(
            f"{task} $1 {{x}} \\n: {{evidence}} {{source_ip}}!"
        )
    recipe = tmp_path / "own" / "mine.toml"
    recipe.write_text('extends = "unified-v2"\nprompts = "prompts"\n')
    run(source, tmp_path / "out", "--recipe", str(recipe), "--json")
    for record in records(tmp_path / "out", "train", "mine"):
        incident = record["incident_id"]
        asked, _ = record["messages"]
        assert asked["content"] == (
            f"{record['task']} $1 {{x}} \\n: Incident {incident} from cause_risk\n"
            "10:15 - horizontal port scan\n10:20 - beacon\n 192.168.1.7!"
        )


# The same bytes


def test_the_same_sources_give_the_same_bytes_on_any_number_of_threads(
    sample_part: Callable[[str], Part], tmp_path: Path
) -> None:
    # In another process, whose hashes of strings and pools of threads differ.
    source, out = sample_part("unified-v2")
    command = [sys.executable, "-m", "immune_data.emit", "--source", str(source)]
    done = subprocess.run(
        [*command, "--data", str(tmp_path), "--threads", "8", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONHASHSEED": "8", "TZ": "Asia/Tokyo"},
    )
    assert done.returncode == 0, done.stderr
    first, second = digests(out), digests(tmp_path)
    # The database is not promised to be the same bytes; all else is, manifests included.
    assert first.pop("immune.duckdb")
    assert second.pop("immune.duckdb")
    assert second == first


def test_worker_processes_give_the_same_bytes(
    sample_part: Callable[[str], Part], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = sample_part("unified-v2")
    monkeypatch.setattr(build, "_WORTH_WORKERS", 0)
    run(source, tmp_path, "--threads", "2", "--json")
    assert jsonl(tmp_path) == jsonl(out)
    assert digests(tmp_path / "tables") == digests(out / "tables")


def test_order_and_compression_of_the_incident_files_do_not_show(
    sample_part: Callable[[str], Part], tmp_path: Path
) -> None:
    """Nor that there is only one thread."""
    import gzip

    given, out = sample_part("unified-v2")
    source = tmp_path / "source"
    source.mkdir()
    for path in given.iterdir():
        rows = json.loads(path.read_text(encoding="utf-8"))["incidents"]
        before = [row["incident_id"] for row in rows]
        if path.name in DATASETS:
            random.Random(7).shuffle(rows)
            assert [row["incident_id"] for row in rows] != before
        with gzip.open(source / f"{path.name}.gz", "wt", compresslevel=1, encoding="utf-8") as file:
            json.dump(rows, file, indent=1)
    run(source, tmp_path / "out", "--threads", "1", "--json")
    assert jsonl(tmp_path / "out") == jsonl(out)


def test_the_real_set_is_the_same_shuffled_and_plain(
    real_source: Path, real_out: Out, tmp_path: Path
) -> None:
    import gzip

    source = tmp_path / "source"
    source.mkdir()
    for path in real_source.glob("*.json*"):
        data = path.read_bytes()
        rows = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
        if path.name.removesuffix(".gz") in DATASETS:
            random.Random(8).shuffle(rows)
        (source / path.name.removesuffix(".gz")).write_text(json.dumps(rows))
    run(source, tmp_path / "out", "--json")
    assert jsonl(tmp_path / "out") == jsonl(real_out("unified-v2"))


# Running again


def test_a_rerun_with_nothing_changed_does_nothing_and_says_so(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run(source, out)
    first = capsys.readouterr()
    assert first.out.splitlines()[-1] == f"wrote {out / 'sft' / 'unified-v2'}"
    before = marks(tmp_path)
    run(source, out)
    again = capsys.readouterr()
    assert marks(tmp_path) == before
    assert again.out.splitlines()[-1] == f"{out / 'sft' / 'unified-v2'} is current: nothing to do"
    assert again.err == ""
    # The tables and warnings are said again.
    assert again.out.splitlines()[:-1] == first.out.splitlines()[:-1]
    assert says(capsys, "--source", source, "--data", out)["current"] is True
    assert marks(tmp_path) == before
    # Files copied elsewhere, or touched, are no change.
    shutil.copytree(source, tmp_path / "copy")
    for path in (tmp_path / "copy").iterdir():
        os.utime(path, (1, 1))
    assert says(capsys, "--source", tmp_path / "copy", "--data", out)["current"] is True


def test_force_rebuilds_everything_the_same(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, bytes_before = marks(out), digests(out)
    as_current = says(capsys, "--source", source, "--data", out)
    anew = says(capsys, "--source", source, "--data", out, "--force")
    assert (as_current.pop("current"), anew.pop("current")) == (True, False)
    assert anew == as_current
    after = marks(out)
    assert set(after) == set(before)
    assert all(after[path] != before[path] for path in after if path.is_file())
    bytes_after = digests(out)
    del bytes_before["immune.duckdb"], bytes_after["immune.duckdb"]
    assert bytes_after == bytes_before


OUTPUTS = [
    *("sft/unified-v2/train.jsonl", "sft/unified-v2/eval.jsonl", "sft/unified-v2/manifest.json"),
    "sft/unified-v2/incidents.json",
    *("tables/incidents.parquet", "tables/rejects.parquet", "tables/manifest.json"),
    *("immune.duckdb", "sft/unified-v2", "sft", "tables"),
]


# One of each kind that a run makes anew in a way of its own; thorough, all.
KINDS = ["sft/unified-v2/train.jsonl", "tables/rejects.parquet", "immune.duckdb", "sft", "tables"]


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_that_is_gone_is_made_again(
    name: str,
    source: Path,
    out: Path,
    capsys: pytest.CaptureFixture[str],
    refused: Callable[..., str],
    pytestconfig: pytest.Config,
) -> None:
    before = digests(out)
    path = out / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with making_nothing():
        assert refused(emit.main, "--source", source, "--data", out) == "not current"
    if name not in KINDS and not pytestconfig.getoption("--thorough"):
        return
    assert says(capsys, "--source", source, "--data", out)["current"] is False
    after = digests(out)
    assert set(after) == set(before)
    del after["immune.duckdb"], before["immune.duckdb"]
    assert after == before
    assert says(capsys, "--source", source, "--data", out)["current"] is True


def test_an_output_that_was_changed_is_made_again(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    """Each is seen by itself, and all are made at once."""
    before = digests(out)
    arguments = ["--source", source, "--data", out]
    damage = {
        name: b"x" + (out / name).read_bytes()[1:] for name in OUTPUTS if (out / name).is_file()
    }
    assert len(damage) == 8
    for name, data in damage.items():
        whole = (out / name).read_bytes()
        (out / name).write_bytes(data)
        if name == "immune.duckdb":  # nobody can say what is lost with it
            damaged = digests(out)
            message = refused(emit.main, *arguments)
            assert message.startswith(f"{out / name} cannot be opened by DuckDB ")
            assert message.endswith(": move it away, or rebuild it with --replace")
            assert digests(out) == damaged
        replace = ["--replace"] * (name == "immune.duckdb")
        with making_nothing():
            assert refused(emit.main, *arguments, *replace) == "not current", name
        (out / name).write_bytes(whole)
    assert says(capsys, *arguments)["current"] is True
    for name, data in damage.items():
        (out / name).write_bytes(data)
    assert says(capsys, *arguments, "--replace")["current"] is False
    after = digests(out)
    del after["immune.duckdb"], before["immune.duckdb"]
    assert after == before
    assert len(query(out, "from pool")) == 20


def test_a_source_that_was_changed_is_read_again(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    before = marks(out)
    names = (SUMMARIES, CAUSE_RISK, RUN_1, CAUSE_RISK_RUN)
    for name in names:  # each is seen by itself
        whole = (source / name).read_bytes()
        (source / name).write_bytes(whole + b"\n")
        with making_nothing():
            assert refused(emit.main, "--source", source, "--data", out) == "not current", name
        (source / name).write_bytes(whole)
    assert says(capsys, "--source", source, "--data", out)["current"] is True
    for name in names:
        with (source / name).open("a") as file:
            file.write("\n")
    assert says(capsys, "--source", source, "--data", out)["current"] is False
    after = marks(out)
    assert all(after[path] != before[path] for path in after if path.is_file())
    actual = {row["file"]: row["sha256"] for row in table(out, "source_files")}
    sha256 = {name: hashlib.sha256((source / name).read_bytes()).hexdigest() for name in names}
    assert actual == manifest(out)["inputs"]["sources"] == sha256


def test_a_source_that_came_or_went_is_a_change(
    source: Path, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Corpus().incident("z", run="summarization_v4_new_results_oss.json").write(tmp_path / "more")
    second = tmp_path / "more" / "summarization_v4_new_results_oss.json"
    second.rename(source / second.name)
    assert says(capsys, "--source", source, "--data", out)["current"] is False
    assert [row["reason"] for row in table(out, "rejects")] == ["unknown_incident"]
    (source / second.name).unlink()
    assert says(capsys, "--source", source, "--data", out)["current"] is False
    assert table(out, "rejects") == []


def test_a_recipe_or_prompt_that_was_changed_is_run_again_on_the_same_tables(
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    refused: Callable[..., str],
) -> None:
    out, own = tmp_path / "out", tmp_path / "own"
    shutil.copytree(Path(recipes.load("unified-v2").prompts_folder), own / "prompts")
    recipe = own / "mine.toml"

    def current(text: str) -> bool:
        recipe.write_text(f'extends = "unified-v2"\nprompts = "prompts"\n{text}')
        return says(capsys, "--source", source, "--data", out, "--recipe", recipe)["current"]

    assert current("") is False
    assert current("") is True
    assert current("# a remark\n") is True
    tables = marks(out / "tables")
    eval_before = jsonl(out, "mine")["eval"]
    assert current("[split]\nseed = 43\n") is False
    assert jsonl(out, "mine")["eval"] != eval_before
    assert current("[split]\nseed = 43\n") is True
    assert current("") is False
    assert jsonl(out, "mine")["eval"] == eval_before
    with (own / "prompts" / "risk.user.txt").open("a") as file:
        file.write("Be brief.\n")
    arguments = ("--source", source, "--data", out, "--recipe", recipe)
    with making_nothing():
        assert refused(emit.main, *arguments) == "not current"
    (own / "prompts" / "cause.system.txt").write_text("You judge.\n")
    assert current("") is False
    assert b"Be brief." in jsonl(out, "mine")["eval"]
    assert b"You judge." in jsonl(out, "mine")["eval"]
    assert marks(out / "tables") == tables
    # The same prompts from another folder are the same prompts.
    shutil.move(own, tmp_path / "moved")
    recipe = tmp_path / "moved" / "mine.toml"
    assert current("") is True


def test_a_second_recipe_keeps_what_the_first_one_made(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = {relation: query(out, f'from "{relation}"') for relation in RELATIONS}
    kept = marks(out / "sft" / "unified-v2"), marks(out / "tables")
    for recipe in ("unified-v1", "risk"):
        run(source, out, "--recipe", recipe)
    assert {relation: query(out, f'from "{relation}"') for relation in RELATIONS} == first
    assert (marks(out / "sft" / "unified-v2"), marks(out / "tables")) == kept
    assert query(out, "from risk_only") != []
    assert query(out, "from risk_only", "unified-v1") == []
    assert query(out, "select dataset from settings", "risk") == [("risk",)]
    for recipe in ("unified-v2", "unified-v1", "risk"):
        output = says(capsys, "--source", source, "--data", out, "--recipe", recipe)
        assert output["current"] is True


def test_the_database_holds_tables_and_relations_and_how_they_were_made(sample_out: Out) -> None:
    out = sample_out("published")
    actual: dict[str, set[str]] = {}
    for schema, name in query(
        out, "select table_schema, table_name from information_schema.tables", "published"
    ):
        actual.setdefault(schema, set()).add(name)
    assert actual["main"] == TABLES | {"made_from", "eval_incidents", "emitted"}
    assert actual["published"] >= RELATIONS
    rows = query(out, "select dag_limit, dag_unit, split_seed from settings", "published")
    assert rows == [(3500, "words", 42)]
    for name in TABLES:
        assert query(out, f"select count(*) from main.{name}", "published") == [
            (len(table(out, name)),)
        ]


def test_too_little_memory_is_a_sentence(
    source: Path,
    earlier_out: Path,
    refused: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline, "MEMORY", 1)
    monkeypatch.setattr(pipeline, "most_memory", lambda: 1)
    message = refused(emit.main, "--source", source, "--data", earlier_out)
    assert message == (
        f"the tables in {earlier_out} need more than the 1 MB that DuckDB may use: run again "
        "with --threads 1, which needs less; nothing was changed"
    )


def test_a_step_that_needs_more_memory_than_most_gets_it(
    source: Path, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "MEMORY", 1)
    assert emit.main(["--source", str(source), "--data", str(tmp_path)]) == 0
    assert digests(tmp_path / "sft") == digests(out / "sft")


# The manifest and the check


def test_the_manifest_says_what_the_dataset_was_made_from(source: Path, out: Path) -> None:
    content = manifest(out)
    assert {"schema_version", "recipe", "inputs", "counts", "outputs"} <= set(content)
    assert content["recipe"] == "unified-v2"

    def sha256(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    inputs = content["inputs"]
    assert inputs["version"] == immune_data.__version__
    assert inputs["sources"] == {path.name: sha256(path) for path in source.iterdir()}
    assert {relation for step in steps.STEPS for relation in step.relations} >= RELATIONS
    assert inputs["sql"] == {
        path.name: sha256(path)
        for part in ("pipeline", "emit")
        for path in (steps.sql_folder() / part).glob("*.sql")
    }
    prompts = recipes.load("unified-v2").prompts_folder
    assert inputs["prompts"] == {path.name: sha256(path) for path in prompts.glob("*.txt")}
    declared = tomllib.loads((recipes.SHIPPED / "unified-v2.toml").read_text(encoding="utf-8"))
    for key in ("gates", "split", "risk", "dag", "records"):
        assert inputs["settings"][key].items() >= declared[key].items()
    folder = out / "sft" / "unified-v2"
    assert {name: file["sha256"] for name, file in content["outputs"].items()} == {
        name: sha256(folder / name) for name in ("eval.jsonl", "incidents.json", "train.jsonl")
    }
    actual = {split: records(out, split) for split in ("train", "eval")}
    for column, key in (("tasks", "task"), ("models", "model"), ("origins", "origin")):
        expected = Counter((split, r[key]) for split in actual for r in actual[split])
        counted = {(r["split"], r[key]): r["records"] for r in content["counts"][column]}
        assert counted == expected
    tokens = sum(record["tokens"] for split in actual for record in actual[split])
    assert sum(row["tokens"] for row in content["counts"]["tasks"]) == tokens


def test_the_manifest_holds_no_place_and_no_clock(source: Path, out: Path, tmp_path: Path) -> None:
    """Nor that of `out`, which was made of sources in another folder."""
    shutil.move(source, tmp_path / "elsewhere")
    run(tmp_path / "elsewhere", tmp_path / "other" / "folder")
    for name in ("sft/unified-v2/manifest.json", "tables/manifest.json"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert (tmp_path / "other" / "folder" / name).read_text(encoding="utf-8") == text
        assert str(tmp_path.parent) not in text
        assert str(Path.home()) not in text
        assert str(Path(immune_data.__file__).parent) not in text
        assert not re.search(r'"/[a-z]', text)
        assert not re.search(r"20\d\d-\d\d-\d\d", text)


def test_check_passes_on_what_was_emitted_and_fails_on_anything_else(
    out: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    refused: Callable[..., str],
) -> None:
    message = refused(emit.main, "--check", "--data", tmp_path / "none")
    assert "manifest.json" in message
    assert not (tmp_path / "none").exists()
    before = marks(out)
    assert emit.main(["--check", "--data", str(out)]) == 0
    assert says(capsys, "--check", "--data", out)["current"] is True
    assert marks(out) == before
    refused(emit.main, "--check", "--data", out, "--recipe", "risk")
    folder = out / "sft" / "unified-v2"
    for name in ("train.jsonl", "eval.jsonl", "incidents.json"):
        data = (folder / name).read_bytes()
        for wrong in (
            data[:500] + bytes([data[500] ^ 1]) + data[501:],
            data[:-1],
            data + b"\n",
            b"",
        ):
            (folder / name).write_bytes(wrong)
            message = refused(emit.main, "--check", "--data", out, code=1)
            assert str(folder / name) in message
        (folder / name).unlink()
        assert str(folder / name) in refused(emit.main, "--check", "--data", out, code=1)
        (folder / name).write_bytes(data)
    assert emit.main(["--check", "--data", str(out)]) == 0
    (folder / "manifest.json").unlink()
    refused(emit.main, "--check", "--data", out)


@contextlib.contextmanager
def making_nothing() -> Iterator[None]:
    """Runs end with a sentence where they would make the dataset."""

    def end(*_: object) -> None:
        raise ImmuneError("not current")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build._Build, "make", end)
        yield


def test_neither_a_check_nor_a_run_takes_a_manifest_that_is_none(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    for text in (
        *("", "{", "[]", "5", "null", "{}", '{"outputs": 5}', '{"outputs": {}}'),
        *('{"outputs": {"train.jsonl": 3}}', '{"outputs": {"train.jsonl": {}}}'),
        '{"outputs": {"train.jsonl": {"sha256": 5}}, "counts": {}}',
    ):
        (out / "sft" / "unified-v2" / "manifest.json").write_text(text)
        for arguments in ([], ["--json"]):
            capsys.readouterr()
            assert emit.main(["--check", "--data", str(out), *arguments]) in (1, 2), text
            captured = capsys.readouterr()
            assert (captured.out, captured.err.count("\n")) == ("", 1), text
        with making_nothing():
            assert refused(emit.main, "--source", source, "--data", out) == "not current", text
    # And a run makes it whole again.
    assert says(capsys, "--source", source, "--data", out)["current"] is False
    assert emit.main(["--check", "--data", str(out)]) == 0


def test_json_says_what_the_tables_say(
    source: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = says(capsys, "--source", source, "--data", out)
    assert output["folder"] == str(out / "sft" / "unified-v2")
    assert output["current"] is True
    for key, value in manifest(out)["counts"].items():
        assert output[key] == value


def test_the_end_is_a_funnel_the_records_and_the_warnings(
    sample_source: Path, sample_out: Out, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(sample_out("unified-v2"), tmp_path, dirs_exist_ok=True)
    capsys.readouterr()
    run(sample_source, tmp_path)
    output = capsys.readouterr().out
    lines = output.splitlines()

    def line(*words: str) -> str:
        return next(line for line in lines if all(word in line for word in words))

    assert 961 in numbers(line("read"))
    assert numbers(line("both datasets"))[:2] == [826, 135]
    assert numbers(line("pool"))[:2] == [802, 24]
    assert 750 in numbers(line("gate risk_level"))
    assert numbers(line("train ", "summary"))[0] == 675
    assert numbers(line("train ", "all"))[0] == 2195
    assert numbers(line("eval ", "all"))[0] == 225
    leaked = line("warning", "eval incidents")
    assert numbers(leaked)[0] == 2 * numbers(leaked)[1] > 0
    assert line("warning", "longer than", "4,096")
    assert numbers(line("warning", "added tokens"))[0] == 1


# Wrong uses


def test_without_arguments_in_an_empty_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "immune_data.emit"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: source folder data/source does not exist")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["--recipe", "unified-v9"], "unified-v9"),
        (["--recipe", "nowhere/mine.toml"], "nowhere/mine.toml"),
        (["--recipe", ""], "recipe"),
        (["--recipe"], "--recipe"),
        (["--colour"], "--colour"),
        (["--forc"], "--forc"),
        (["extra"], "extra"),
        (["--threads", "0"], "0"),
        (["--threads", "-1"], "-1"),
        (["--threads", "two"], "two"),
        (["--threads", "1.5"], "1.5"),
        (["--check", "--recipe", "unified-v9"], "unified-v9"),
    ],
)
def test_a_wrong_use_is_a_sentence(
    arguments: list[str], names: str, source: Path, standing_out: Path, refused: Callable[..., str]
) -> None:
    message = refused(emit.main, "--source", source, "--data", standing_out, *arguments)
    assert names in message


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[gates\n", "TOML"),
        ("[gates]\nsummary_score_mni = 4\n", "summary_score_mni"),
        ("[gates]\nsummary_score_min = 'four'\n", "summary_score_min"),
        ("[gates]\nsummary_score_min = 11\n", "summary_score_min"),
        ("[split]\neval_share = 1.0\n", "eval_share"),
        ("[dag]\nlimit = 0\n", "limit"),
        ("[gates.risk_length]\nmin = 400\n", "risk_length"),
        ("prompts = 'nowhere'\n", "nowhere"),
        ("prompts = '.'\n", "summary.user.txt"),
        ("extra = 1\n", "extra"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_a_sentence_that_names_the_key(
    text: str,
    names: str,
    source: Path,
    tmp_path: Path,
    standing_out: Path,
    refused: Callable[..., str],
) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(f'extends = "unified-v2"\n{text}')
    message = refused(emit.main, "--source", source, "--data", standing_out, "--recipe", recipe)
    assert names in message


@pytest.mark.parametrize("name", ["main", "information_schema", "pg_catalog", 'we"ird', "a b", "Ü"])
def test_a_recipe_of_any_name_works_or_is_a_sentence(
    name: str, source: Path, tmp_path: Path, standing_out: Path, refused: Callable[..., str]
) -> None:
    recipe = tmp_path / f"{name}.toml"
    recipe.write_text('extends = "unified-v2"\n')
    arguments = ["--source", str(source), "--data", str(tmp_path / "out"), "--recipe", str(recipe)]
    if emit.main(arguments) == 0:
        assert len(records(tmp_path / "out", "eval", name)) == 6
    else:
        arguments[3] = str(standing_out)
        assert name in refused(emit.main, *arguments)


def test_an_out_that_cannot_be_written_is_a_sentence(
    source: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "file").write_text("mine")
    before = digests(tmp_path)
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/immune")):
        message = refused(emit.main, "--source", source, "--data", out)
        assert str(out) in message
    assert digests(tmp_path) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_out_is_a_sentence(
    source: Path, out: Path, refused: Callable[..., str]
) -> None:
    with (source / RUN_1).open("a") as file:
        file.write("\n")
    before = digests(out)
    out.chmod(0o555)
    try:
        assert str(out) in refused(emit.main, "--source", source, "--data", out)
    finally:
        out.chmod(0o755)
    assert digests(out) == before


@pytest.mark.parametrize("name", ["tables", "sft", ".unfinished", "sft/unified-v2"])
def test_a_file_where_a_folder_should_be_is_a_sentence_or_no_matter(
    name: str, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "out" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    code = emit.main(["--source", str(source), "--data", str(tmp_path / "out")])
    if code:
        assert code == 2
        assert str(tmp_path / "out") in capsys.readouterr().err.splitlines()[-1]
        assert path.read_text() == "mine"
    else:
        assert not (tmp_path / "out" / ".unfinished").exists()


def test_a_folder_where_the_database_should_be_harms_nothing(
    source: Path, standing_out: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    shutil.copytree(standing_out, out)
    (out / "immune.duckdb").unlink()
    (out / "immune.duckdb" / "mine").mkdir(parents=True)
    before = digests(out)
    message = refused(emit.main, "--source", source, "--data", out)
    assert str(out / "immune.duckdb") in message
    assert digests(out) == before


@pytest.mark.parametrize("name", ["sft", "sft/unified-v2", "tables"])
@pytest.mark.parametrize("kind", ["file", "link to nowhere"])
def test_something_else_where_a_folder_should_be_harms_nothing(
    name: str,
    kind: str,
    source: Path,
    standing_out: Path,
    tmp_path: Path,
    refused: Callable[..., str],
) -> None:
    out = tmp_path / "out"
    shutil.copytree(standing_out, out)
    shutil.rmtree(out / name)
    (out / name).write_text("mine") if kind == "file" else (out / name).symlink_to("nowhere")
    before = digests(out)
    message = refused(emit.main, "--source", source, "--data", out)
    assert message == f"{out / name} is not a folder: move it away"
    assert digests(out) == before


def test_a_check_changes_nothing(out: Path, refused: Callable[..., str]) -> None:
    for flag in ("--force", "--replace"):
        message = refused(emit.main, "--data", out, "--check", flag)
        assert message == "--check changes nothing: leave --force and --replace out"


# Whole or not at all


def test_bad_input_leaves_what_was_emitted(
    source: Path, out: Path, refused: Callable[..., str]
) -> None:
    run(source, out, "--recipe", "risk")
    before = marks(out)
    good = (source / RUN_1).read_bytes()
    (source / RUN_1).write_bytes(good[:-2])
    for recipe in ("unified-v2", "risk", "unified-v1"):
        for force in ([], ["--force"]):
            refused(emit.main, "--source", source, "--data", out, "--recipe", recipe, *force)
            left = marks(out)
            assert {path: left[path] for path in left if path.is_file()} == {
                path: before[path] for path in before if path.is_file()
            }
            assert set(left) == set(before)
    (source / RUN_1).write_bytes(good)
    assert emit.main(["--source", str(source), "--data", str(out), "--check"]) == 0


def killed_at(step: int, source: Path, out: Path) -> None:
    """A run that is killed when it says its next step for this time."""
    lines: list[str] = []

    def report(line: str) -> None:
        lines.append(line)
        if len(lines) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    build.emit(source, out, recipes.load("unified-v2"), report=report)


@pytest.mark.parametrize("step", [1, 4, 6, 10, 15])
def test_a_killed_run_changes_nothing_and_the_next_one_clears_up(
    step: int, source: Path, out: Path, earlier_out: Path, tmp_path: Path
) -> None:
    process = warm.start(tmp_path, killed_at, step, source, earlier_out)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    left = {path.name for path in earlier_out.iterdir()}
    assert {"immune.duckdb", "sft", "tables"} <= left  # and what the next run clears up
    assert len(left) <= 4
    next_out = tmp_path / "next"
    shutil.copytree(earlier_out, next_out)
    for name in left - {"immune.duckdb", "sft", "tables"}:
        shutil.rmtree(earlier_out / name)
    run(source, next_out)
    assert {path.name for path in next_out.iterdir()} == {"immune.duckdb", "sft", "tables"}
    assert jsonl(next_out) == jsonl(out)


def test_two_runs_at_once_on_one_folder_are_one(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said: list[subprocess.CompletedProcess[str]] = []

    def second_run(line: str) -> None:
        if said:
            return
        command = [sys.executable, "-m", "immune_data.emit", "--source", str(source)]
        said.append(
            subprocess.run(
                [*command, "--data", str(out)], capture_output=True, text=True, check=False
            )
        )

    result = emit.emit(source, out, recipes.load("unified-v2"), report=second_run)
    assert result.current is False
    assert (said[0].returncode, said[0].stdout) == (2, "")
    assert said[0].stderr.startswith("error: ")
    assert said[0].stderr.count("\n") == 1
    assert str(out) in said[0].stderr
    assert len(records(out, "eval")) == 6
    assert {path.name for path in out.iterdir()} == {"immune.duckdb", "sft", "tables"}


def test_a_source_replaced_while_the_run_is_on_is_not_passed_off_as_the_old_one(
    source: Path, standing_out: Path, tmp_path: Path
) -> None:
    """The manifest vouches for bytes that were read, or the run ends with a sentence."""
    other = Corpus().incidents("xyz").write(tmp_path / "other")

    def replace(line: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            for name in (SUMMARIES, CAUSE_RISK):
                (other / name).replace(source / name)

    out = tmp_path / "out"
    shutil.copytree(standing_out, out)
    try:
        emit.emit(source, out, recipes.load("unified-v2"), report=replace)
    except ImmuneError:
        assert digests(out) == digests(standing_out)
    else:
        read = {row["file"]: row["sha256"] for row in table(out, "source_files")}
        assert manifest(out)["inputs"]["sources"] == read


def test_a_reader_of_the_database_stops_no_run_and_keeps_what_it_reads(
    tmp_path: Path, out: Path
) -> None:
    import duckdb

    reading = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); "
        "print(c.sql('select count(*) from \"unified-v2\".pool').fetchall(), flush=True); "
        "sys.stdin.readline(); "
        "print(c.sql('select count(*) from \"unified-v2\".gates').fetchall(), flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", reading, str(out / "immune.duckdb")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as reader:
        assert reader.stdout.readline() == "[(20,)]\n"
        other = Corpus().incidents("xyz").write(tmp_path / "other")
        run(other, out)
        with duckdb.connect(str(out / "immune.duckdb"), read_only=True) as connection:
            rows = connection.execute('select count(*) from "unified-v2".pool').fetchall()
        reader.stdin.write("\n")
        reader.stdin.flush()
        assert reader.stdout.readline() == "[(20,)]\n"
        reader.stdin.close()
    assert rows == [(3,)]
    assert reader.returncode == 0


def test_what_a_client_left_beside_the_database_does_not_break_it(
    tmp_path: Path, out: Path
) -> None:
    writing = (
        "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]); "
        "c.execute('create table main.notes as select 1 as a'); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", writing, str(out / "immune.duckdb")], check=False)
    assert done.returncode == -9
    assert (out / "immune.duckdb.wal").exists()
    run(Corpus().incidents("xyz").write(tmp_path / "other"), out)
    assert len(query(out, "from pool")) == 3


# Small corpora


def test_no_incident_at_all_is_an_empty_dataset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Corpus().write(tmp_path / "source")
    assert emit.main(["--source", str(source), "--data", str(tmp_path / "out")]) == 1
    assert jsonl(tmp_path / "out") == {"train": b"", "eval": b""}
    assert "no record" in capsys.readouterr().err
    assert manifest(tmp_path / "out")["counts"]["tasks"] == []
    assert emit.main(["--data", str(tmp_path / "out"), "--check"]) == 0


# Other numbers are in the tests of the rules.
@pytest.mark.parametrize("number", [1, 25])
def test_eval_is_a_tenth_rounded_half_to_even_and_at_least_one(number: int, tmp_path: Path) -> None:
    ids = [f"{i:02}" for i in range(number)]
    source = Corpus().incidents(reversed(ids)).write(tmp_path / "source")
    alone = number == 1  # eval, and train is empty
    assert emit.main(["--source", str(source), "--data", str(tmp_path / "out")]) == alone
    shuffled = ids[:]
    random.Random(42).shuffle(shuffled)
    held_out = max(1, round(0.1 * number))
    emitted_records = records(tmp_path / "out", "eval")
    assert [r["incident_id"] for r in emitted_records] == [
        i for i in shuffled[:held_out] for _ in TASKS
    ]
    assert [r["task"] for r in emitted_records] == list(TASKS) * held_out
    emitted_records = [r for r in records(tmp_path / "out", "train") if r["origin"] == "unified"]
    assert [r["incident_id"] for r in emitted_records] == [
        i for i in shuffled[held_out:] for _ in TASKS
    ]
