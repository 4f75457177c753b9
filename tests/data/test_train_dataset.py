"""The records to train on: what is read from files, folders and the Hub, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from corpus import records
from hub_server import TOKEN, HubServer, take_for_the_hub
from hypothesis import given
from hypothesis import strategies as st
from training import record, write

from immune_data.common.errors import CheckFailed, ImmuneError
from immune_data.contract.record import Record
from immune_data.publish import __main__ as publish
from immune_data.report import figures
from immune_train.data import dataset
from immune_train.data.dataset import shortest
from immune_train.sft import __main__ as sft

CLEAN = "unified-clean"
REPO = "acme/incidents"
ADDRESS = f"hf://datasets/{REPO}"


def as_dicts(found: list[Record]) -> list[dict[str, Any]]:
    return [msgspec.to_builtins(one) for one in found]


@pytest.fixture
def folder(training_out: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of an emitted dataset that a test may spoil."""
    shutil.copytree(training_out(CLEAN) / "sft" / CLEAN, tmp_path / CLEAN)
    return tmp_path / CLEAN


def damage(path: Path) -> None:
    """Change one letter of the last answer."""
    content = path.read_bytes()
    at = content.rindex(b"scan") if b"scan" in content else content.rindex(b"host")
    path.write_bytes(content[:at] + content[at : at + 4].upper() + content[at + 4 :])


# Files and folders


def test_an_emitted_folder(folder: Path, training_out: Callable[[str], Path]) -> None:
    found = dataset.from_folder(folder)
    for split, read in (("train", found.train), ("eval", found.eval)):
        assert as_dicts(read) == records(training_out(CLEAN), split, CLEAN)
    assert found.manifest_json == (folder / "manifest.json").read_text()
    assert found.manifest is not None
    assert (found.manifest.recipe, found.manifest.synthetic) == (CLEAN, False)
    assert found.incidents_json == (folder / "incidents.json").read_text()
    assert found.incidents_sha256 == found.manifest.outputs["incidents.json"].sha256
    assert found.leaked == []


def test_two_files_by_name(folder: Path, tmp_path: Path) -> None:
    one = dataset.from_files(folder / "train.jsonl", folder / "eval.jsonl")
    assert one == dataset.from_folder(folder)
    alone = write(tmp_path / "mine.jsonl", [record(), record(incident_id="b", task="cause")])
    other = dataset.from_files(alone, folder / "eval.jsonl")
    assert [len(other.train), len(other.eval)] == [2, len(one.eval)]
    assert other.manifest is None  # it vouches for one of them only
    assert (other.manifest_json, other.incidents_json, other.incidents_sha256) == (
        "{}\n",
        None,
        None,
    )


def test_leaks_are_found() -> None:
    train = [record(incident_id=name) for name in "abca"]
    held_out = [record(incident_id=name, task="summary") for name in "ad"]
    found = dataset.Dataset(
        msgspec.convert(train, list[Record]), msgspec.convert(held_out, list[Record]), None, "here"
    )
    assert [one.incident_id for one in found.leaked] == ["a", "a"]


@pytest.mark.parametrize("split", ["train", "eval"])
def test_a_file_that_the_manifest_does_not_name(split: str, folder: Path) -> None:
    damage(folder / f"{split}.jsonl")
    with pytest.raises(CheckFailed, match=rf"{split}\.jsonl is not the file that .*manifest\.json"):
        dataset.from_folder(folder)
    with pytest.raises(CheckFailed):
        dataset.from_files(folder / "train.jsonl", folder / "eval.jsonl")


def test_the_list_of_incidents_is_the_one_that_the_manifest_names(folder: Path) -> None:
    path = folder / "incidents.json"
    path.write_text(path.read_text().replace("train", "eval", 1))
    with pytest.raises(CheckFailed, match=r"incidents\.json is not the file that manifest\.json"):
        dataset.from_folder(folder)
    path.unlink()
    with pytest.raises(ImmuneError, match=r"cannot read .*incidents\.json"):
        dataset.from_folder(folder)
    # A dataset from before there were such lists.
    content = json.loads((folder / "manifest.json").read_text())
    del content["outputs"]["incidents.json"]
    (folder / "manifest.json").write_text(json.dumps(content))
    found = dataset.from_folder(folder)
    assert (found.incidents_json, found.incidents_sha256) == (None, None)
    assert found.manifest is not None


def test_splits_that_changed_places(folder: Path) -> None:
    (folder / "train.jsonl").rename(folder / "x")
    (folder / "eval.jsonl").rename(folder / "train.jsonl")
    (folder / "x").rename(folder / "eval.jsonl")
    with pytest.raises(CheckFailed):
        dataset.from_folder(folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"outputs": 1}', '{"outputs": {"x": 1}}'])
def test_a_manifest_that_is_none(content: str, folder: Path) -> None:
    (folder / "manifest.json").write_text(content)
    with pytest.raises(ImmuneError, match="is not the manifest of"):
        dataset.from_folder(folder)


def test_a_folder_that_is_not_complete(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    with pytest.raises(ImmuneError, match=r"immune_data\.emit --recipe unified-clean"):
        dataset.from_folder(folder)
    with pytest.raises(ImmuneError, match=r"cannot read .*absent\.jsonl"):
        dataset.from_files(folder / "absent.jsonl", folder / "eval.jsonl")


def spoilt(**changes: Any) -> str:
    return json.dumps({**record(), **changes})


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("", "Input data was truncated"),
        ("{", "Input data was truncated"),
        ("[]", "Expected `object`"),
        ("{}", "missing required field"),
        ("\xff", "line 2 is not a record"),
        (spoilt(task="Summary"), "task"),
        (spoilt(tokens="7"), "tokens"),
        (spoilt(tokens=None), "tokens"),
        (spoilt(extra=1), "extra"),
        (spoilt(messages=[]), "assistant"),
        (spoilt(messages=[{"role": "user", "content": "?"}]), "assistant"),
        (spoilt(messages=[{"role": "assistant", "content": None}]), "content"),
        (spoilt(messages="?"), "messages"),
    ],
)
def test_a_line_that_is_no_record(line: str, says: str, tmp_path: Path) -> None:
    good = json.dumps(record()).encode()
    path = tmp_path / "train.jsonl"
    path.write_bytes(good + b"\n" + line.encode("latin-1") + b"\n" + good + b"\n")
    with pytest.raises(ImmuneError) as error:
        dataset.from_files(path, path)
    assert says in str(error.value)
    assert f"{path}, line 2 " in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_without_records(tmp_path: Path) -> None:
    with pytest.raises(ImmuneError, match="contains no record"):
        dataset.from_files(write(tmp_path / "a", []), write(tmp_path / "b", [record()]))


def test_line_ends_within_a_record_are_no_lines(tmp_path: Path) -> None:
    """Python's and Unicode's own line ends may stand as they are in a JSON string."""
    one = record("a\u2028b\x85c\u2029", "\u2028d\x1ce")
    path = write(tmp_path / "a", [one, one])
    assert as_dicts(dataset.from_files(path, path).train) == [one, one]
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    assert as_dicts(dataset.from_files(path, path).train) == [one, one]


# The shortest ones


@given(
    st.lists(st.tuples(st.sampled_from(["summary", "cause", "risk"]), st.integers(1, 9))),
    st.integers(1, 12),
)
def test_the_shortest_come_evenly_from_each_task(made: list[tuple[str, int]], number: int) -> None:
    found = [
        msgspec.convert(record(task=task, incident_id=str(i), tokens=tokens), Record)
        for i, (task, tokens) in enumerate(made)
    ]
    chosen = shortest(found, number)
    assert len(chosen) == min(number, len(found))
    places = [int(one.incident_id) for one in chosen]
    assert places == sorted(set(places))
    counts = {task: sum(one.task == task for one in chosen) for task, _ in made}
    for task, count in counts.items():
        of_task = sorted(one.tokens for one in found if one.task == task)
        assert sorted(one.tokens for one in chosen if one.task == task) == of_task[:count]
        if count < len(of_task):
            assert count >= max(counts.values()) - 1
    assert shortest(found, None) == found


# The Hub


@pytest.fixture(scope="session")
def published(
    training_out: Callable[[str], Path],
    shared_folder: Callable[[str, Callable[[Path], object]], Path],
) -> Path:
    """The folder of a published dataset."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(figures, "drawn", lambda facts: [])
            code = publish.main(
                [
                    *("--repo-id", REPO, "--license", "cc-by-4.0", "--recipe", CLEAN, "--dry-run"),
                    *("--data", str(training_out(CLEAN)), "--output", str(folder / "made")),
                ]
            )
        assert code == 0

    return shared_folder("training-published", make) / "made"


@pytest.fixture
def hub(published: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A Hub with the dataset on it: as it is at `v1`, and one answer changed by hand on `main`."""
    with HubServer() as server:
        take_for_the_hub(server, monkeypatch, tmp_path)
        from huggingface_hub import HfApi

        api = HfApi(endpoint=server.url, token=TOKEN)
        api.create_repo(REPO, repo_type="dataset")
        api.upload_folder(repo_id=REPO, folder_path=published, repo_type="dataset")
        api.create_tag(REPO, tag="v1", repo_type="dataset")
        changed = tmp_path / "validation.jsonl"
        shutil.copy(published / CLEAN / "validation.jsonl", changed)
        damage(changed)
        api.upload_file(
            path_or_fileobj=changed,
            path_in_repo=f"{CLEAN}/validation.jsonl",
            repo_id=REPO,
            repo_type="dataset",
        )
        yield server


def test_a_published_dataset(
    hub: HubServer, training_out: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    emitted = dataset.from_folder(training_out(CLEAN) / "sft" / CLEAN)
    said: list[str] = []
    found = dataset.from_hub(f"{ADDRESS}@v1", CLEAN, said.append)
    assert (found.train, found.eval) == (emitted.train, emitted.eval)
    assert found.manifest == emitted.manifest
    assert said == [f"downloading {REPO}@v1"]
    fetched = {request for request in hub.requests if "/resolve/" in request}
    assert fetched
    assert not any("parquet" in request for request in fetched)
    with pytest.raises(CheckFailed, match=r"validation\.jsonl is not the file"):
        dataset.from_hub(ADDRESS, CLEAN, said.append)
    for name, recipe, says in (
        (f"{ADDRESS}@v1", "unified-v9", "has no config unified-v9"),
        (f"{ADDRESS}@v9", CLEAN, "has no revision v9"),
        ("hf://datasets/acme/other", CLEAN, "there is no dataset acme/other"),
        (f"{ADDRESS}@v1:{CLEAN}", CLEAN, "write hf://datasets/ORG/NAME"),
        (REPO, CLEAN, "write hf://datasets/ORG/NAME"),
        ("incidents", CLEAN, "is not a dataset"),
        ("../incidents", CLEAN, "is not a dataset"),
    ):
        with pytest.raises(ImmuneError, match=says):
            dataset.from_hub(name, recipe, said.append)


def test_what_is_taken_from_the_cache_is_said(
    hub: HubServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With its commit, and the same commit is read however the Hub is out of reach."""
    found = dataset.from_hub(f"{ADDRESS}@v1", CLEAN, lambda line: None)
    commit = hub.repos[REPO].tags["v1"]

    def again(name: str) -> list[str]:
        said: list[str] = []
        assert dataset.from_hub(name, CLEAN, said.append) == found
        return said[1:]

    cached = f"the dataset {REPO}@v1 is taken from the cache, at commit {commit}"
    hub.fault("GET .*/api/", status=503, times=50)
    assert again(f"{ADDRESS}@v1") == [f"the Hub answers 503: {cached}"]
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert again(f"{ADDRESS}@v1") == [f"the Hub cannot be reached: {cached}"]
    assert again(f"{ADDRESS}@{commit}") == []  # what was asked for is what is read
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert again(f"{ADDRESS}@v1") == [f"HF_HUB_OFFLINE is set: {cached}"]
    with pytest.raises(ImmuneError, match=r"acme/other is not in the cache"):
        dataset.from_hub("hf://datasets/acme/other", CLEAN, lambda line: None)
    with pytest.raises(ImmuneError, match=rf"{REPO}@v2 is not in the cache"):
        dataset.from_hub(f"{ADDRESS}@v2", CLEAN, lambda line: None)


def test_a_published_folder_on_this_machine(
    published: Path, training_out: Callable[[str], Path]
) -> None:
    emitted = dataset.from_folder(training_out(CLEAN) / "sft" / CLEAN)
    for name in (published, published / CLEAN, training_out(CLEAN) / "sft"):
        found = dataset.from_hub(str(name), CLEAN, lambda line: None)
        assert (found.train, found.eval) == (emitted.train, emitted.eval)


def test_a_dry_run_from_the_hub(
    hub: HubServer, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config", "tiny", "--model", str(tiny_model), "--output", str(tmp_path / "run")]
    assert sft.main([*arguments, "--dataset", f"{ADDRESS}@v1", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert f"downloading {REPO}@v1" in said.err
    assert "nothing was trained" in said.out
    assert "warning" not in said.out
    assert not (tmp_path / "run").exists()
    assert sft.main([*arguments, "--dataset", ADDRESS, "--dry-run"]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--train", "a.jsonl"], "--train and --eval go together"),
        (["--eval", "a.jsonl"], "--train and --eval go together"),
        (["--train", "a", "--eval", "b", "--dataset", "c"], "cannot be combined"),
        (["--train", "a.jsonl", "--eval", "b.jsonl"], "cannot read a.jsonl"),
        (["--dataset", "a"], "a is not a dataset"),
        (["--data", "nowhere"], "emit it with `python -m immune_data.emit --recipe unified-clean`"),
        (["lora_r"], "lora_r is not a setting"),
        (["--lora_r", "8"], "--lora_r"),
        (["--backend", "axolotl"], "axolotl"),
        (["--backend", "unsloth"], "unsloth"),
        (["gguf=[q8_0, q4]"], "gguf has q4, which is not a type: use q4_k_m, q5_k_m"),
        (["--config", "tinny"], "did you mean tiny?"),
    ],
)
def test_wrong_uses(
    arguments: list[str],
    says: str,
    refused: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    config = [] if "--config" in arguments else ["--config", "tiny"]
    assert says in refused(sft.main, *config, *arguments)
    assert list(tmp_path.iterdir()) == []
