"""Publishing: what the folder holds, what the Hub gets, and what goes wrong on the way there.

The real `huggingface_hub` client talks to a loopback server; `datasets` opens what was published.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
import yaml
from corpus import Corpus, digests, query, records
from figures import undrawn
from hub_server import READ_TOKEN, SIGNATURE, TOKEN, HubServer, card_errors, take_for_the_hub

from immune_data.audit import checks
from immune_data.common.errors import ImmuneError
from immune_data.common.hub import upload
from immune_data.contract import model_terms
from immune_data.emit import __main__ as emit
from immune_data.publish import __main__ as publish
from immune_data.publish import card, datasets, publication
from immune_data.recipes import Recipe
from immune_data.report import figures

RECIPES = ("unified-clean", "unified-v2")
TABLES = ("incidents", "dags", "responses", "judgements")
REPO = "acme/incidents"
TERMS = ("--repo-id", REPO, "--license", "cc-by-4.0")

# The errors of the corpus below under `unified-v2`, whose augmentation takes eval incidents.
FAULT = "eval_in_train"


Shared = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    undrawn(monkeypatch)


def emit_all(source: Path, out: Path) -> None:
    for recipe in RECIPES:
        arguments = ["--source", str(source), "--data", str(out), "--recipe", recipe]
        assert emit.main(arguments) == 0


@pytest.fixture(scope="session")
def emitted(shared_folder: Shared) -> Path:
    """Two recipes of a corpus in which something differs wherever it can."""

    def make(folder: Path) -> None:
        corpus = Corpus()
        for number in range(24):
            corpus.incident(
                f"i{number:02}",
                facts={
                    "source_ip": f"10.0.0.{number}",
                    "category": "Normal" if number % 3 else "Malware",
                    "threat_level": None if number == 5 else number / 4,
                },
                answers={"gpt-4o": {"summary": None}} if number == 7 else None,
                summary_scores=None if number > 20 else {"gpt-4o": 9, "qwen2.5-3b": 4},
                dag=f"Evidence {number}: “10.0.0.{number} → 8.8.8.8” | 日本\n" * (number + 1),
            )
        emit_all(corpus.write(folder / "source"), folder / "out")

    return shared_folder("publish", make) / "out"


@pytest.fixture
def out(emitted: Path, tmp_path: Path) -> Path:
    """A copy of what was emitted that a test may spoil."""
    shutil.copytree(emitted, tmp_path / "out")
    return tmp_path / "out"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., HubServer]]:
    """`served(…)`: a Hub, which the client of this process then takes for the real one."""
    started: list[HubServer] = []

    def start(**how: Any) -> HubServer:
        server = HubServer(**how).__enter__()
        started.append(server)
        take_for_the_hub(server, monkeypatch, tmp_path)
        return server

    yield start
    for server in started:
        server.__exit__()


@pytest.fixture
def hub(served: Callable[..., HubServer]) -> HubServer:
    return served(lfs_above=4000)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, without making them."""
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    return pauses


def run(out: Path, *more: object, recipes: tuple[str, ...] = ("unified-clean",)) -> int:
    arguments = [*TERMS, "--data", out, "--recipe", *recipes, *more]
    return publish.main([str(argument) for argument in arguments])


def folder_of(out: Path) -> Path:
    return out / "publish" / "incidents"


def metadata(folder: Path) -> dict[str, Any]:
    text = (folder / "README.md").read_text(encoding="utf-8")
    return yaml.safe_load(text.split("---\n")[1])


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# The folder

REAL = ((datasets, "audited", datasets.audited), (publication, "write", publication.write))


@pytest.fixture(scope="session")
def dry_run(emitted: Path, shared_folder: Shared) -> Callable[..., Path]:
    """`dry_run(recipes)`: the folder `made` that a dry run wrote, and what it `said`."""

    def made(recipes: tuple[str, ...]) -> Path:
        def make(folder: Path) -> None:
            accepted = ("--accept", FAULT) if "unified-v2" in recipes else ()
            # The other worker may publish other recipes at the same time.
            out = shutil.copytree(emitted, folder / "out")
            with (
                pytest.MonkeyPatch.context() as patched,
                (folder / "said").open("w", encoding="utf-8") as said,
                redirect_stdout(said),
            ):
                undrawn(patched)
                for module, name, function in REAL:  # also where `ready` stands in for them
                    patched.setattr(module, name, function)
                patched.setenv("HF_TOKEN", "")
                patched.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
                more = ("--dry-run", "--output", folder / "made", *accepted)
                assert run(out, *more, recipes=recipes) == 0

        return shared_folder(f"published-{'-'.join(recipes)}", make)

    return made


@pytest.fixture(scope="session")
def written(dry_run: Callable[..., Path]) -> Path:
    """A dry run of both recipes."""
    return dry_run(RECIPES) / "made"


@pytest.fixture
def ready(dry_run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """For tests of the way to the Hub: a folder from which the command publishes at once.

    What it would write is copied from what a dry run of the same recipes wrote.
    """

    def audited(out: Path, recipes: list[Recipe], *_: object, **__: object) -> tuple[str, ...]:
        return tuple(recipe.name for recipe in recipes)

    def write(
        out: Path, names: tuple[str, ...], terms: datasets.Terms, to: Path, _: object
    ) -> None:
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(dry_run(names) / "made", to)

    monkeypatch.setattr(datasets, "audited", audited)
    monkeypatch.setattr(publication, "write", write)
    (tmp_path / "ready").mkdir()
    return tmp_path / "ready"


def test_a_dry_run_writes_everything_and_prints_the_card(
    dry_run: Callable[..., Path], emitted: Path
) -> None:
    out, made = emitted, dry_run(RECIPES[:1])
    folder, message = made / "made", (made / "said").read_text(encoding="utf-8")
    assert message.startswith((folder / "README.md").read_text(encoding="utf-8"))
    assert "nothing was uploaded" in message
    names = set(digests(folder))
    relations = {f"unified-clean/relations/{name}.parquet" for (name,) in schema(out)}
    assert {"README.md", "manifest.json", "audit.json"} <= names
    assert {"unified-clean/manifest.json", "unified-clean/incidents.json"} <= names
    assert len(relations) > 15
    assert {name for name in names if name.startswith("unified-clean/relations/")} == relations
    assert {name for name in names if name.startswith("tables/")} >= {
        f"tables/{path.name}" for path in (out / "tables").glob("*.parquet")
    }
    assert any(name.startswith("sql/pipeline/") for name in names)
    assert any(name.startswith("sql/audit/") for name in names)
    assert {"relations.md", "sql/comments/tables/dags.sql"} <= names
    assert "sql/comments/relations/gates.sql" in names
    sft = out / "sft" / "unified-clean"
    for split, ours in (("train", "train"), ("validation", "eval")):
        published = (folder / "unified-clean" / f"{split}.jsonl").read_bytes()
        assert published == (sft / f"{ours}.jsonl").read_bytes()
    assert not list(folder.parent.glob(".*"))


def schema(out: Path, recipe: str = "unified-clean") -> list[tuple]:
    return query(
        out,
        "select table_name from duckdb_tables() where schema_name = current_schema()",
        recipe,
    )


def test_the_manifest_names_every_other_file(written: Path) -> None:
    content = json.loads((written / "manifest.json").read_text())
    by_name = digests(written)
    del by_name["manifest.json"]
    assert {name: file["sha256"] for name, file in content["files"].items()} == by_name
    assert [recipe["recipe"] for recipe in content["recipes"]] == list(RECIPES)
    assert content["accepted"] == [FAULT]


def test_parquet_holds_the_rows_of_the_lines(written: Path) -> None:
    for recipe in RECIPES:
        for split in ("train", "validation"):
            rows = lines(written / recipe / f"{split}.jsonl")
            table = pq.read_table(written / recipe / f"{split}.parquet")
            assert table.to_pylist() == rows
            assert table.column_names == list(rows[0])
            column = pq.ParquetFile(written / recipe / f"{split}.parquet").metadata.row_group(0)
            assert column.column(0).compression == "ZSTD"


def test_relations_are_those_of_the_database(written: Path, emitted: Path) -> None:
    with duckdb.connect(str(emitted / "immune.duckdb"), read_only=True) as connection:
        for recipe in RECIPES:
            connection.execute(f'use "{recipe}"')
            for (name,) in schema(emitted, recipe):
                path = written / recipe / "relations" / f"{name}.parquet"
                published = connection.execute("from read_parquet(?)", [str(path)]).fetchall()
                assert published == connection.execute(f'from "{name}"').fetchall()


def test_the_page_of_relations_describes_what_is_published(written: Path) -> None:
    page = (written / "relations.md").read_text(encoding="utf-8")
    files = [*written.glob("tables/*.parquet"), *written.glob("unified-clean/relations/*.parquet")]
    assert sorted(re.findall(r"^### `(\w+)`$", page, re.M)) == sorted(path.stem for path in files)
    assert "made by immune_data.emit" not in page


def test_the_same_dataset_gives_the_same_bytes(out: Path, written: Path) -> None:
    """From a copy, elsewhere, and over an earlier publication."""
    shutil.copytree(written, folder_of(out))
    before = (folder_of(out) / "README.md").stat().st_mtime_ns
    assert run(out, "--dry-run", "--accept", FAULT, recipes=RECIPES) == 0
    assert (folder_of(out) / "README.md").stat().st_mtime_ns != before
    assert digests(folder_of(out)) == digests(written)


def test_an_earlier_publication_is_replaced_and_nothing_else(
    out: Path,
    written: Path,
    dry_run: Callable[..., Path],
    tmp_path: Path,
    refused: Callable[..., str],
) -> None:
    target = tmp_path / "to"
    shutil.copytree(written, target)
    assert run(out, "--dry-run", "--output", target) == 0
    assert not (target / "unified-v2").exists()
    assert digests(target) == digests(dry_run(RECIPES[:1]) / "made")
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years")
    message = refused(
        publish.main,
        *TERMS,
        "--data",
        out,
        "--recipe",
        RECIPES[0],
        "--output",
        precious,
        "--dry-run",
    )
    assert str(precious) in message
    assert (precious / "thesis.txt").read_text() == "years"


# The card


def test_the_hub_accepts_the_card(written: Path) -> None:
    from huggingface_hub import DatasetCard

    loaded = DatasetCard.load(written / "README.md")
    assert loaded.data.license == "cc-by-4.0"
    assert loaded.data.language == ["en"]
    assert card_errors(str(loaded)) == []
    data = metadata(written)
    assert [config["config_name"] for config in data["configs"]] == [
        *(*RECIPES, *TABLES),
        *("gates", "funnel"),
    ]
    assert [config.get("default") for config in data["configs"]] == [True] + [None] * 7
    for config in data["configs"]:
        for files in config["data_files"]:
            assert (written / files["path"]).is_file()
    assert data["size_categories"] == ["n<1K"]


def test_sizes_and_features_are_those_of_the_files(written: Path) -> None:
    data = metadata(written)
    for config, info in zip(data["configs"], data["dataset_info"], strict=True):
        assert info["config_name"] == config["config_name"]
        paths = {files["split"]: written / files["path"] for files in config["data_files"]}
        assert {split["name"]: split["num_examples"] for split in info["splits"]} == {
            split: pq.read_metadata(path).num_rows for split, path in paths.items()
        }
        assert info["download_size"] == sum(path.stat().st_size for path in paths.values())
        assert info["dataset_size"] == sum(split["num_bytes"] for split in info["splits"])
        names = [feature["name"] for feature in info["features"]]
        assert all(pq.read_schema(path).names == names for path in paths.values())


@pytest.mark.parametrize(
    ("rows", "category"),
    [
        (1, "n<1K"),
        (999, "n<1K"),
        (1000, "1K<n<10K"),
        (2420, "1K<n<10K"),
        (10_000, "10K<n<100K"),
        (999_999, "100K<n<1M"),
        (999_999_999, "100M<n<1B"),
        (10**9, "n>1B"),
    ],
)
def test_size_categories(rows: int, category: str) -> None:
    assert card._size(rows) == category


def test_the_numbers_of_the_card_are_counted(written: Path, emitted: Path) -> None:
    text = (written / "README.md").read_text(encoding="utf-8")
    for recipe in RECIPES:
        train, held_out = (len(records(emitted, split, recipe)) for split in ("train", "eval"))
        assert re.search(rf"\| `{recipe}`( \(default\))? \| {train} \| {held_out} \|", text)
        for split, ours in (("train", "train"), ("validation", "eval")):
            for task in ("summary", "cause", "risk"):
                of_task = [row for row in records(emitted, ours, recipe) if row["task"] == task]
                tokens = sum(row["tokens"] for row in of_task)
                row = f"| `{recipe}` | {split} | {task} | {len(of_task)} | {tokens:,} |"
                assert (row in text) == bool(of_task)
        for step, incidents in query(emitted, "select step, incidents from funnel", recipe):
            assert f"| {step} | {incidents} |" in text
    for table in TABLES:
        [(rows,)] = query(emitted, f"select count(*) from main.{table}")
        assert f"| `{table}` | {rows} |" in text
    [(limit, score)] = query(emitted, "select dag_limit, summary_score_min from settings")
    assert f"At most {limit:,} tokens" in text
    assert f"summary score of at least {score:g}" in text
    assert "drawn with the seed 42." in text  # unified-v2
    assert "hash, with the key `immune`, into that share" in text  # unified-clean
    assert "between equals, the model that the judge scored first. Cause and risk have" in text
    assert "scored first. The winner on the cause gives the risk answer too." in text  # unified-v2


def test_another_recipe_gives_another_card(tmp_path: Path, emitted: Path) -> None:
    recipe = tmp_path / "strict.toml"
    recipe.write_text(
        'description = "ours | theirs"\nextends = "unified-v1"\n'
        "[gates]\nsummary_score_min = 7\nsummary_length = { min = 51, max = 399, unit = 'words' }\n"
        "[judging]\ncombine = 'mean'\nmargin = 0.5\n"
        "[dag]\nlimit = 1234\n[split]\nseed = 7\neval_share = 0.25\n"
    )
    source, out = emitted.parent / "source", tmp_path / "out"
    arguments = ["--source", str(source), "--data", str(out), "--recipe", str(recipe)]
    assert emit.main(arguments) == 0
    assert publish.main([*TERMS, "--data", str(out), "--recipe", str(recipe), "--dry-run"]) == 0
    text = (folder_of(out) / "README.md").read_text(encoding="utf-8")
    for value in (
        *("ours \\| theirs", "summary score of at least 7", "51-399 (in words)", "At most 1,234"),
        *("first ~1234 tokens", "seed 7", "25% of the passing"),
        *("is the mean over the runs", "it and those less than 0.5 points behind"),
    ):
        assert value in text
    assert "**Augmentation.**" not in text
    assert "3,500" not in text


def test_the_figures_are_those_of_the_report(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    real, drawn = figures.drawn, []
    monkeypatch.setattr(figures, "drawn", lambda facts: drawn.extend(real(facts)) or drawn)
    assert run(out, "--dry-run") == 0
    text = (folder_of(out) / "README.md").read_text(encoding="utf-8")
    assert len(drawn) > 3
    for figure in drawn:
        path = f"figures/unified-clean/{figure.name}.svg"
        assert (folder_of(out) / path).read_text(encoding="utf-8") == figure.svg
        assert f"![{figure.title}]({path})" in text
        assert figure.description in text


def test_the_sql_of_the_card_runs_on_the_files(written: Path) -> None:
    text = (written / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 3
    with duckdb.connect() as connection:
        answers = []
        for block in blocks:
            here = block.replace(f"hf://datasets/{REPO}", str(written))
            assert "hf://" not in here
            for statement in duckdb.extract_statements(here):
                answers.append(connection.execute(statement).fetchall())
        assert answers[0][0][0] == "read"
        assert answers[2] == []  # none of unified-clean is on both sides
        for path in sorted((written / "sql" / "audit").glob("*.sql")):
            connection.execute(path.read_text(encoding="utf-8"))


# What is refused


def test_the_audit_refuses_what_is_wrong_to_train_on(
    out: Path, hub: HubServer, refused: Callable[..., str]
) -> None:
    arguments = [*TERMS, "--data", out, "--recipe", "unified-v2"]
    message = refused(publish.main, *arguments, code=1)
    assert FAULT in message
    assert f"--accept {FAULT}" in message
    assert hub.requests == []
    assert not folder_of(out).exists()


def test_accepted_faults_are_on_the_card(written: Path, emitted: Path) -> None:
    text = (written / "README.md").read_text(encoding="utf-8")
    held_out = {row["incident_id"] for row in records(emitted, "eval")}
    leaked = [row for row in records(emitted, "train") if row["incident_id"] in held_out]
    assert leaked
    assert f"| `{FAULT}` | error (accepted) | {len(leaked)} |" in text
    [row] = [
        row
        for row in json.loads((written / "audit.json").read_text())["unified-v2"]
        if row["check"] == FAULT
    ]
    assert row["failed"]
    assert row["rows"] == len(leaked)
    assert row["severity"] == "error"
    assert row["first_incident"] in held_out


def test_a_changed_file_is_refused(out: Path, hub: HubServer, refused: Callable[..., str]) -> None:
    arguments = [*TERMS, "--data", out, "--recipe", "unified-clean"]
    train = out / "sft" / "unified-clean" / "train.jsonl"
    before = train.read_bytes()
    train.write_bytes(before.replace(b"scan", b"scam", 1))
    assert str(train) in refused(publish.main, *arguments, code=1)
    train.write_bytes(before)
    table = out / "tables" / "dags.parquet"
    spoilt = table.read_bytes()
    table.write_bytes(spoilt + b"\0")
    assert str(table.parent) in refused(publish.main, *arguments, code=1)
    table.write_bytes(spoilt)
    manifest = out / "sft" / "unified-clean" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["inputs"]["settings"]["gates"]["summary_score_min"] = 5
    manifest.write_text(json.dumps(content))
    assert "emit it again" in refused(publish.main, *arguments, code=1)
    assert hub.requests == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--license", "mit"], ["--repo-id"]),
        (["--repo-id", REPO], ["--license"]),
        (["--repo-id", "incidents", "--license", "mit"], ["ORG/NAME"]),
        (["--repo-id", "a/b/c", "--license", "mit"], ["ORG/NAME"]),
        (["--repo-id", "acme/in cidents", "--license", "mit"], ["ORG/NAME"]),
        (["--repo-id", "acme/../x", "--license", "mit"], ["ORG/NAME"]),
        (["--repo-id", REPO, "--license", "My Licence"], ["--license", "cc-by-4.0"]),
        ([*TERMS, "--recipe", "unifed"], ["unifed", "unified-v2"]),
        ([*TERMS, "--recipe", "risk"], ["risk"]),
        ([*TERMS, "--recipe", "unified-clean", "--accept", "eval_in_trian"], ["eval_in_trian"]),
        ([*TERMS, "--revision", "a b"], ["--revision"]),
        ([*TERMS, "--revision", "x/../y"], ["--revision"]),
        ([*TERMS, "--token", "hf_x"], ["--token"]),
    ],
)
def test_a_wrong_use_is_a_sentence(
    arguments: list[str], words: list[str], emitted: Path, refused: Callable[..., str]
) -> None:
    before = digests(emitted)
    message = refused(publish.main, *arguments, "--data", emitted)
    for word in words:
        assert word in message
    assert digests(emitted) == before


def test_what_was_never_emitted_is_a_sentence(tmp_path: Path, refused: Callable[..., str]) -> None:
    message = refused(publish.main, *TERMS, "--data", tmp_path / "nowhere")
    assert "emit" in message
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_may_not_hide_a_config(
    out: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "Gates.toml").write_text('description = "x"\nextends = "unified-v1"\n')
    message = refused(publish.main, *TERMS, "--data", out, "--recipe", tmp_path / "Gates.toml")
    assert "Gates" in message


# To the Hub and back

LOAD = """
import json, sys
from datasets import get_dataset_config_names, load_dataset
folder, into = sys.argv[1:]
found = {}
for config in get_dataset_config_names(folder):
    loaded = load_dataset(folder, config)
    for split, rows in loaded.items():
        found.setdefault(config, {})[split] = [dict(row) for row in rows]
found["default"] = [dict(row) for row in load_dataset(folder)["validation"]]
json.dump(found, open(into, "w"))
"""


def test_what_is_downloaded_is_what_was_emitted(out: Path, hub: HubServer, tmp_path: Path) -> None:
    opened(uploaded(out, hub, tmp_path), out, tmp_path)


def test_what_is_downloaded_is_what_was_uploaded_in_parts(
    ready: Path, served: Callable[..., HubServer], tmp_path: Path
) -> None:
    hub = served(lfs_above=4000, parts_of=20_000)
    uploaded(ready, hub, tmp_path)
    assert any("/complete" in route for route in hub.requests)


def uploaded(out: Path, hub: HubServer, tmp_path: Path) -> Path:
    """What is downloaded after both recipes are published, byte for byte the folder."""
    accept = ("--accept", FAULT, "--revision", "v1")
    assert run(out, *accept, recipes=RECIPES) == 0
    local = {name: (folder_of(out) / name).read_bytes() for name in digests(folder_of(out))}
    assert hub.files(REPO) == local
    assert len(hub.repos[REPO].commits) == 2  # the Hub's own first, and ours
    assert hub.repos[REPO].tags == {"v1": hub.repos[REPO].commits[-1][0]}

    from huggingface_hub import snapshot_download

    downloaded = Path(
        snapshot_download(
            REPO,
            repo_type="dataset",
            revision="v1",
            cache_dir=tmp_path / "hub",
            local_dir=tmp_path / "downloaded",
            token=TOKEN,
        )
    )
    assert {
        name: sha256 for name, sha256 in digests(downloaded).items() if not name.startswith(".")
    } == {name: hashlib.sha256(content).hexdigest() for name, content in local.items()}
    return downloaded


def opened(downloaded: Path, out: Path, tmp_path: Path) -> None:
    """`datasets` gives, config by config and offline, the rows that were emitted."""
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(downloaded), str(tmp_path / "loaded.json")],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "HF_HOME": str(tmp_path / "home"),
        },
    )
    assert done.returncode == 0, done.stderr
    loaded = json.loads((tmp_path / "loaded.json").read_text())
    assert set(loaded) == {*RECIPES, *TABLES, "gates", "funnel", "default"}
    for recipe in RECIPES:
        assert loaded[recipe] == {
            "train": records(out, "train", recipe),
            "validation": records(out, "eval", recipe),
        }
    assert loaded["default"] == records(out, "eval", RECIPES[0])
    for table in TABLES:
        path = out / "tables" / f"{table}.parquet"
        assert loaded[table] == {"train": pq.read_table(path).to_pylist()}
    for relation in ("gates", "funnel"):
        rows = [list(row.values()) for row in loaded[relation]["train"]]
        assert rows == [list(row) for row in query(out, f"from {relation}", RECIPES[0])]


def test_the_same_bytes_make_no_commit(
    ready: Path, hub: HubServer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(ready) == 0
    assert "published" in capsys.readouterr().out
    commits, since = list(hub.repos[REPO].commits), len(hub.requests)
    assert run(ready, "--revision", "v1.0") == 0
    message = capsys.readouterr().out
    assert "no new commit" in message
    assert "v1.0" in message
    assert hub.repos[REPO].commits == commits
    assert not [route for route in hub.routes(since) if "/commit/" in route or "PUT" in route]
    assert run(ready, "--revision", "v1.0") == 0
    assert "already set" in capsys.readouterr().out
    assert run(ready, "--revision", "v1.1", "--json") == 0
    published = json.loads(capsys.readouterr().out)["published"]
    assert published["committed"] is False
    assert published["tagged"] is True
    assert published["commit"] == commits[-1][0]
    assert set(hub.repos[REPO].tags) == {"v1.0", "v1.1"}


def test_what_no_longer_belongs_goes(ready: Path, hub: HubServer) -> None:
    assert run(ready, "--accept", FAULT, recipes=RECIPES) == 0
    assert any(name.startswith("unified-v2/") for name in hub.files(REPO))
    since = len(hub.requests)
    assert run(ready) == 0
    assert set(hub.files(REPO)) == set(digests(folder_of(ready)))
    assert ".gitattributes" in hub.repos[REPO].at("main")[1]
    stored = [route for route in hub.requests[since:] if route.startswith("PUT")]
    assert len(stored) <= len({"README.md", "audit.json", "manifest.json"})


def test_a_tag_on_other_files_is_a_sentence(
    ready: Path, hub: HubServer, refused: Callable[..., str]
) -> None:
    assert run(ready, "--revision", "v1") == 0
    commits = list(hub.repos[REPO].commits)
    arguments = [*TERMS, "--data", ready, "--recipe", *RECIPES, "--accept", FAULT]
    message = refused(publish.main, *arguments, "--revision", "v1")
    assert "v1" in message
    assert hub.repos[REPO].commits == commits


def test_private_applies_when_a_repository_is_made(
    ready: Path, hub: HubServer, capsys: pytest.CaptureFixture[str], refused: Callable[..., str]
) -> None:
    assert run(ready, "--private") == 0
    assert hub.repos[REPO].private
    assert run(ready) == 0
    assert "is private" in capsys.readouterr().out
    assert hub.repos[REPO].private
    hub.repos[REPO].private = False
    hub.repos[REPO].commits[1:] = []
    message = refused(publish.main, *TERMS, "--data", ready, "--recipe", RECIPES[0], "--private")
    assert "public" in message
    assert hub.files(REPO) == {}


# What goes wrong

PREUPLOAD, COMMIT, BATCH = "POST .*/preupload/", "POST .*/commit/", "POST .*/objects/batch"
STORE, INFO, CREATE = "PUT /storage/", "GET /api/datasets/[^/]+/[^/]+$", "POST /api/repos/create"
TREE, TAG, CARD, VERIFY = "GET .*/tree/", "POST .*/tag/", "validate-yaml", "objects/verify"
STEPS = [PREUPLOAD, COMMIT, BATCH, STORE, INFO, CREATE, TREE, TAG, CARD, VERIFY]


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A part of a publication: one file of each kind."""
    for name in ("README.md", "manifest.json", "audit.json", "unified-clean/train.parquet"):
        part = tmp_path / "folder" / name
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes((written / name).read_bytes())
    return tmp_path / "folder"


def attempt(folder: Path, hub: HubServer, capsys: pytest.CaptureFixture[str]) -> str | None:
    """Publish under a tag: the sentence, if any, and the folder is there as a whole or not."""
    capsys.readouterr()
    failed = None
    try:
        published = upload.publish(folder, REPO, private=False, tag="v1", report=print)
    except ImmuneError as error:
        failed = str(error)
    message = f"{failed} {capsys.readouterr()}"
    assert TOKEN not in message
    assert SIGNATURE not in message
    on_hub = hub.files(REPO) if REPO in hub.repos else {}
    assert on_hub in ({}, {name: (folder / name).read_bytes() for name in digests(folder)})
    if failed is None:
        assert on_hub
        assert hub.repos[REPO].tags == {"v1": published.commit}
        assert published.commit == hub.repos[REPO].commits[-1][0]
        assert len(hub.repos[REPO].commits) == 2
    return failed


PASSING = {
    "cut-response": {"cut": "response"},
    "500": {"status": 500},
    "503": {"status": 503, "body": b"<html>busy</html>"},
    "429": {"status": 429, "headers": {"Retry-After": "7"}},
    "cut-request": {"cut": "request"},
}
LASTING = {
    "500": ({"status": 500}, "run again later"),
    "cut": ({"cut": "request"}, "can be reached"),
    "401": ({"status": 401, "message": "Invalid credentials"}, "hf auth login"),
    "403": ({"status": 403, "message": "Forbidden"}, "write access"),
    "404": ({"status": 404}, "does not find"),
    "409": ({"status": 409, "message": "Conflict"}, "someone else"),
    "412": ({"status": 412}, "someone else"),
    "429": ({"status": 429, "headers": {"Retry-After": "2"}}, "too many requests"),
    "429-for-a-day": ({"status": 429, "headers": {"Retry-After": "86400"}}, "86400 s"),
    "418": ({"status": 418, "message": "short and stout"}, "short and stout"),
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Steps with the faults that are tried in each, and the other faults in one step after another.

    What those are to the user does not depend on the step: all of both are for `--thorough`.
    """
    for test, steps, faults, in_each in (
        (
            "test_what_passes_is_tried_again",
            STEPS,
            PASSING,
            1,
        ),  # a step that was done is done again
        ("test_what_does_not_pass_is_a_sentence", [TAG, PREUPLOAD, COMMIT, STORE], LASTING, 2),
    ):
        if metafunc.function.__name__ != test:
            continue
        others = max(len(steps), len(faults) - in_each)
        chosen = [
            pytest.param(step, faults[name], id=f"{name}-{step}")
            for i, step in enumerate(steps)
            for j, name in enumerate(faults)
            if j < in_each
            or metafunc.config.getoption("--thorough")
            or any(
                (n % len(steps), in_each + n % (len(faults) - in_each)) == (i, j)
                for n in range(others)
            )
        ]
        metafunc.parametrize(("step", "fault"), chosen)


def test_what_passes_is_tried_again(
    step: str,
    fault: dict[str, Any],
    folder: Path,
    hub: HubServer,
    slept: list[float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub.fault(step, **fault)
    assert attempt(folder, hub, capsys) is None
    assert slept
    assert max(slept) <= 20
    if "headers" in fault:
        assert max(slept) >= 7


def test_what_does_not_pass_is_a_sentence(
    step: str,
    fault: tuple[dict[str, Any], str],
    folder: Path,
    hub: HubServer,
    slept: list[float],
    capsys: pytest.CaptureFixture[str],
) -> None:
    what, words = fault
    hub.fault(step, times=float("inf"), **what)
    message = attempt(folder, hub, capsys)
    assert message is not None
    assert words in message
    assert sum(slept) < 600
    assert ("the files are published" in message) == (step == TAG)
    assert bool(REPO in hub.repos and hub.files(REPO)) == (step == TAG)
    hub.faults.clear()
    assert attempt(folder, hub, capsys) is None


@pytest.mark.parametrize("recipes", [RECIPES, RECIPES[:1]], ids=["changed", "the same"])
def test_another_commit_in_between_is_no_harm(
    recipes: tuple[str, ...],
    ready: Path,
    hub: HubServer,
    slept: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from huggingface_hub import HfApi

    assert run(ready) == 0
    repo = hub.repos[REPO]
    real = HfApi.list_repo_files

    def meddled(self: HfApi, *arguments: Any, **more: Any) -> list[str]:
        names = real(self, *arguments, **more)
        if len(repo.commits) == 2:
            repo.commit({**repo.commits[-1][1], "note.txt": b"hello"}, "someone else's")
        return names

    monkeypatch.setattr(HfApi, "list_repo_files", meddled)
    changed = recipes == RECIPES
    assert run(ready, *(("--accept", FAULT) if changed else ()), recipes=recipes) == 0
    assert bool(slept) == changed
    assert len(repo.commits) == 4
    assert set(hub.files(REPO)) == set(digests(folder_of(ready)))


def test_without_a_token_it_says_how_to_get_one(
    ready: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    arguments = [*TERMS, "--data", ready, "--recipe", RECIPES[0]]
    monkeypatch.delenv("HF_TOKEN")
    assert "hf auth login" in refused(publish.main, *arguments)
    monkeypatch.setenv("HF_TOKEN", "hf_Gehéim")
    assert "Geh" not in refused(publish.main, *arguments)
    assert hub.requests == []
    monkeypatch.setenv("HF_TOKEN", "hf_Unknown")
    assert "does not accept the token" in refused(publish.main, *arguments)
    monkeypatch.setenv("HF_TOKEN", READ_TOKEN)
    message = refused(publish.main, *arguments)
    assert "write access to acme" in message
    assert READ_TOKEN not in message
    assert hub.repos == {}


def test_a_licence_that_nobody_knows_is_refused_before_any_work(
    out: Path, hub: HubServer, refused: Callable[..., str], tmp_path: Path
) -> None:
    nowhere = ["--data", out, "--dry-run", "--output", tmp_path / "made"]
    message = refused(publish.main, "--repo-id", REPO, "--license", "cc-by-4", *nowhere)
    assert "did you mean cc-by-4.0" in message
    for unknown in ("zzz", "#", "# The licences that the Hub knows"):
        message = refused(publish.main, "--repo-id", REPO, "--license", unknown, *nowhere)
        assert "such as cc-by-4.0" in message
    assert hub.requests == []
    assert not (tmp_path / "made").exists()


def test_a_card_names_the_terms_of_the_models_that_answered(written: Path) -> None:
    card = (written / "README.md").read_text(encoding="utf-8")
    licence = card[card.index("## Licence") :]
    assert re.search(r"`gpt-4o` \| OpenAI Services Agreement.*openai\.com", licence)
    assert re.search(r"`qwen2\.5-3b` \| Qwen Research License", licence)
    assert re.search(r"`qwen2\.5-1\.5b` \| Apache-2\.0", licence)
    assert "(relations.md)" in card
    assert (written / "relations.md").is_file()
    unknown = model_terms.table(["somebody's|`x`"]).splitlines()[-1]
    assert unknown == r"| `somebody's\|x` | not known here: ask whoever published it |  |"


def test_a_licence_that_the_hub_does_not_know_is_its_own_sentence(
    out: Path, hub: HubServer, refused: Callable[..., str]
) -> None:
    arguments = ["--repo-id", REPO, "--license", "openmdw-1.0", "--data", out]
    arguments += ["--recipe", RECIPES[0]]
    message = refused(publish.main, *arguments)
    assert '"license" must be one of' in message
    assert hub.files(REPO) == {}


def test_offline_is_a_sentence(
    ready: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    message = refused(publish.main, *TERMS, "--data", ready, "--recipe", RECIPES[0])
    assert "HF_HUB_OFFLINE" in message


# Publishes twice what was written before.
TWICE = """
import shutil, sys
from immune_data.publish import __main__ as publish, datasets, publication
folder, *arguments = sys.argv[1:]
datasets.audited = lambda *_, **__: []
publication.write = lambda *given: shutil.copytree(folder, given[3], dirs_exist_ok=True)
sys.exit([publish.main(arguments) for _ in range(2)] != [2, 0])
"""


def test_a_token_never_shows(written: Path, tmp_path: Path) -> None:
    """In a process of its own, as talkative as `huggingface_hub` can be, ill and well."""
    shown, out = b"", tmp_path / "out"
    out.mkdir()
    with HubServer(lfs_above=4000) as hub:
        environment = {
            **os.environ,
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_VERBOSITY": "debug",
            "HF_DEBUG": "1",
        }
        hub.fault(COMMIT, status=403, message=f"no, {TOKEN} may not")
        command = [sys.executable, "-c", TWICE, str(written), *TERMS, "--data", str(out)]
        done = subprocess.run(command, capture_output=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr.decode()
        shown += done.stdout + done.stderr
        assert b"no, <token> may not" in shown
        assert hub.files(REPO)
    for path in [*out.rglob("*"), *(tmp_path / "home").rglob("*")]:
        shown += path.read_bytes() if path.is_file() else b""
    assert TOKEN.encode() not in shown
    assert SIGNATURE.encode() not in shown


def test_the_checks_of_the_corpus_are_known() -> None:
    assert FAULT in [check.name for check in checks.load()]
