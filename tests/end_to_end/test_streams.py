"""Whatever is printed, to whatever it is printed: never a traceback, and the work is done.

    pytest tests/end_to_end/test_streams.py --thorough

tries every way with every command, and starts an interpreter for each; without the option each
command goes without a reader, without streams, and takes two of the other ways in turn; those that
take long take one way in turn; and all but a few are forks of a process that has the libraries
loaded.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import warm
from corpus import Corpus, digests, states
from edge import incident, random_gguf
from hypothesis import given
from hypothesis import strategies as st

from immune_data import sql
from immune_data.common import cli, streams
from immune_data.emit import __main__ as emit
from immune_train.bench_edge.results import Run, line
from immune_train.bench_edge.timing import Timing

RECIPE = "unified-v2"
ODD = "Ωδε • ▌ 日本 \U0001f600 é"
# Where `ls` shows what a command has made; {} is the emitted folder.
QUICK = {
    "help": ["immune_data", "--help"],
    "emit help": ["immune_data.emit", "--help"],
    "emit": ["immune_data.emit", "--source", "{}/source", "--data", "made", "--recipe", RECIPE],
    "emit check": ["immune_data.emit", "--data", "{}", "--check"],
    "emit json": ["immune_data.emit", "--data", "{}", "--check", "--json"],
    "audit": ["immune_data.audit", "--data", "{}"],
    "audit json": ["immune_data.audit", "--data", "{}", "--json"],
    "audit funnel": ["immune_data.audit", "funnel", "--data", "{}"],
    "audit list": ["immune_data.audit", "--list"],
    "audit diff": ["immune_data.audit", "diff", "{}/sft/unified-v2", "{}/other"],
    "why": ["immune_data.why", "a", "--data", "{}", "--full"],
    "why json": ["immune_data.why", "a", "--data", "{}", "--json"],
    "sql": ["immune_data.sql", "--data", "{}", "select incident_id, text from dags"],
    "sql csv": ["immune_data.sql", "--data", "{}", "--csv", "from dags"],
    "sql json": ["immune_data.sql", "--data", "{}", "--json", "from dags"],
    "sql parquet": ["immune_data.sql", "--data", "{}", "--parquet", "made.parquet", "from dags"],
    "wrong": ["immune_data.why", ODD, "--data", "{}"],
    "no verb": ["immune_data", ODD],
}
SLOW = {
    "sample": ["immune_data.sample", "--output", "made"],
    "report": ["immune_data.report", "--data", "{}", "--output", "made.html"],
    "publish": [
        *(
            "immune_data.publish",
            "--data",
            "{}",
            "--output",
            "made",
            "--repo-id",
            "a/b",
            "--license",
        ),
        *("mit", "--dry-run", "--accept", "answer_structure", "balance", "structure"),
    ],
}
_ASK = [
    *("immune_train.generate", "--model", "{gguf}", "--no-grammar"),
    *("--max-tokens", "4", "--threads", "1"),
]
_EVAL = "{}/few.jsonl"
TRAINING = {
    "generate": [*_ASK, "--task", "all", "--incident", "{}/incident.json"],
    "generate json": [*_ASK, "--task", "risk", "--json", "--incident", "{}/incident.json"],
    "generate stream": [*_ASK, "--task", "risk", "--stream", "--incident", "{}/incident.json"],
    "generate request": [*_ASK, "--task", "cause", "--request", "--incident", "{}/incident.json"],
    "generate eval": [*_ASK, "--eval", _EVAL],
    "generate to a file": [*_ASK, "--eval", _EVAL, "--output", "made.timed"],
    "score": ["immune_train.score", "--reference", _EVAL, "--output", "made.json"],
    "export": ["immune_train.export", "--model", "{model}", "--output", "made", "--quant", "q8_0"],
    "bench": [
        *("immune_train.bench_edge", "--model", "{gguf}", "--eval", _EVAL, "--threads", "1"),
        *("--replay", "--compare", "grounded", "--pairs", "1"),
    ],
    "bench results": ["immune_train.bench_edge", "--results", "{}/bench.jsonl"],
    "merge nothing": ["immune_train.merge", "--run", ODD],
    "recall nothing": ["immune_train.recall", "--run", ODD],
    "publish nothing": ["immune_train.publish", "--run", ODD, "--repo-id", "a/b", "--license", "x"],
}
# Commands of a second or more.
_LONG = ("sample", "report", "generate eval", "generate to a file", "export", "bench")
# Commands that an interpreter is started for, which opens the streams. And one of the ways sets its
# locale, which is read then.
_STARTED = [QUICK[name] for name in ("help", "why json")]
_LOCALE = "LC_ALL"
# What stands for a command that takes seconds where no interpreter is started for it.
_QUICKER = {"immune_data.report": "figures", "immune_train.bench_edge": "edge"}

# In the documented forms: in others a grammar lets a model that replays them write on and on.
_ANSWERS = {
    "summary": "Nothing.",
    "cause": (
        "**Possible Causes:**\n\n"
        "**1. Malicious Activity:**\n• A\n\n"
        "**2. Legitimate Activity:**\n• B\n\n"
        "**3. Misconfigurations:**\n• C\n\n"
        "**Conclusion:** D"
    ),
    "risk": (
        "**Risk Level:** High\n\n"
        "**Justification:** A\n\n"
        "**Business Impact:** B\n\n"
        "**Likelihood of Malicious Activity:** Medium - C\n\n"
        "**Investigation Priority:** Immediate - D"
    ),
}

Ran = tuple[int, dict[str, str], str]


@pytest.fixture(scope="module")
def emitted(shared_folder: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """An emitted dataset whose texts hold what few encodings have."""

    def make(folder: Path) -> None:
        dag = f"Incident of {ODD}\n10:15 - horizontal port scan {ODD}\n"
        Corpus().incidents("abcdefghijklmnop", dag=dag).write(folder / "source")
        for out, ids in (("source", ""), ("other source", "x")):
            if ids:
                Corpus().incidents("abcdefghijklm", dag=dag).write(folder / out)
        out = folder / "other out"
        for source, data in (("source", folder), ("other source", out)):
            made = ["--source", str(folder / source), "--data", str(data), "--recipe", RECIPE]
            assert emit.main(made) == 0
        shutil.move(out / "sft" / RECIPE, folder / "other")
        shutil.rmtree(out)
        shutil.rmtree(folder / "other source")
        write_few(folder / "sft" / RECIPE / "eval.jsonl", folder / "few.jsonl")
        write_timings(folder / "bench.jsonl")
        odd = incident(source_ip=ODD)
        (folder / "incident.json").write_text(json.dumps(odd, ensure_ascii=False), "utf-8")

    return shared_folder("streams", make)


def write_few(path: Path, to: Path) -> None:
    """The records of one incident, with answers of so few words that they are replayed at once."""
    records = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    kept = [record for record in records if record["incident_id"] == records[0]["incident_id"]]
    for record in kept:
        record["messages"][-1]["content"] = _ANSWERS[record["task"]]
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in kept)
    to.write_text("".join(lines), "utf-8")


def write_timings(path: Path) -> None:
    """What a benchmark on a processor of an odd name measured."""
    measured = Run("m.gguf", "0", 10, 8, "1", None, ODD, 2, False, False, "immune 1")
    timings = [
        Timing(
            *(0, side, "i", 10.0, 900, 400, 1.0, 1.0, 300, 9.0, 100, 0, 0, 0),
            answers={},
            bytes_per_second=80.0,
            peak_bytes=20,
        )
        for side in ("not grounded", "default")
    ]
    header = json.dumps(asdict(measured)).encode() + b"\n"
    path.write_bytes(header + b"".join(map(line, timings)))


@pytest.fixture
def run(
    emitted: Path,
    shared_folder: Callable[..., Path],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> Callable[..., Ran]:
    """`run(command, shell)`: its exit code, what it made, and what it complained of.

    Without a shell it runs in this process, whose streams are as they should be.
    """
    copy = tmp_path / "emitted"
    before: dict[Path, tuple[int, ...]] = {}
    gguf = random_gguf(shared_folder)
    thorough = request.config.getoption("--thorough")

    def run(command: list[str], shell: str = "", **environment: str) -> Ran:
        nonlocal before
        if not copy.exists():
            shutil.copytree(emitted, copy)
            before = states(copy)
        folder = tmp_path / "here"
        folder.mkdir()
        places = {"gguf": gguf, "model": gguf.with_name("model")}
        started = thorough or command in _STARTED or _LOCALE in environment
        python = [sys.executable, "-m"] if started else warm.commands()
        module, *rest = (word.format(copy, **places) for word in command)
        module = module if started else _QUICKER.get(module, module)
        if shell:
            done = subprocess.run(
                ["bash", "-c", shell, "bash", *python, module, *rest],
                cwd=folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            code, said = done.returncode, done.stderr.decode("utf-8", "replace")
        else:
            code, said = _main_in(folder, module, rest), ""
        made = digests(folder)
        if states(copy) != before:
            made |= digests(copy)
            shutil.rmtree(copy)
        shutil.rmtree(folder)
        return code, made, said

    return run


def _main_in(folder: Path, module: str, arguments: list[str]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        try:
            return cli.module(module).main(arguments)
        except SystemExit as end:  # after the help
            return int(end.code or 0)


def _alike(made: dict[str, str]) -> dict[str, str]:
    """Files of the same content, or, where it differs from run to run, of the same name."""
    varies = (".duckdb", ".timed")
    return {name: "" if name.endswith(varies) else digest for name, digest in made.items()}


# Shell to run the command in, and what it finds in its environment.
_GONE = 'exec 3> >(exec true); wait $!; "$@" >&3 2>&3'  # before anything is printed
_COMMON = {"gone": (_GONE, {}), "closed": ('"$@" <&- >&- 2>&-', {})}
_ASCII = {"ascii": ('"$@"', {"PYTHONIOENCODING": "ascii"})}
_MORE = {
    "goes": ('"$@" 2>&1 | true; exit ${PIPESTATUS[0]}', {}),
    "no input": ('"$@" <&-', {}),
    "no output": ('"$@" >&-', {}),
    "no errors": ('"$@" 2>&-', {}),
    "cp1252": ('"$@"', {"PYTHONIOENCODING": "cp1252"}),
    "C": ('"$@"', {_LOCALE: "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
}
_COMMANDS = {**QUICK, **SLOW, **TRAINING}


def _ways(name: str, thorough: bool) -> dict[str, tuple[str, dict[str, str]]]:
    """A command that takes long is tried in fewer."""
    more = {} if name in SLOW else {**_ASCII, **(_MORE if name in QUICK else {})}
    if not thorough and name in _LONG:
        way = list(_COMMON)[_LONG.index(name) % len(_COMMON)]
        return {way: _COMMON[way]}
    if not thorough and name in QUICK:
        turn = 2 * list(QUICK).index(name)
        more = dict([*more.items(), *more.items()][turn % len(more) :][:2])
    return {**_COMMON, **more}


@pytest.mark.usefixtures("in_this_process", "kept_models", "kept_vocabularies")
@pytest.mark.parametrize("name", _COMMANDS)
def test_streams_change_neither_the_work_nor_its_exit_code(
    name: str, run: Callable[..., Ran], request: pytest.FixtureRequest
) -> None:
    command = _COMMANDS[name]
    code, made, _ = run(command)
    ways = _ways(name, request.config.getoption("--thorough"))
    for way, (shell, environment) in ways.items():
        again, others, said = run(command, shell, **environment)
        assert (way, again) == (way, code), said
        assert _alike(others) == _alike(made), way
        assert "Traceback" not in said
        assert "UnicodeEncodeError" not in said


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_what_programs_read_is_utf8_whatever_the_terminal(form: str, emitted: Path) -> None:
    command = [sys.executable, "-m", "immune_data.sql", "--data", emitted, form, "from dags"]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    found = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
    assert ODD in found.decode()


ENCODINGS = ["ascii", "latin-1", "cp1252", "cp437", "koi8-r", "shift_jis", "gb2312", "utf-8"]


@given(
    text=st.text(st.characters(exclude_categories=())),  # halves of surrogate pairs too
    encoding=st.sampled_from(ENCODINGS),
)
def test_any_text_is_printed_and_json_stays_json(
    text: str, encoding: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "printed"
    with pytest.MonkeyPatch.context() as patch, path.open("w", encoding=encoding) as stream:
        patch.setattr(sys, "stdout", stream)
        patch.setattr(sys, "__stdout__", stream)
        with streams.patient():
            print(json.dumps([text, "é"], ensure_ascii=False))
    if encoding not in ("shift_jis",):  # whose backslash is another sign
        assert json.loads(path.read_bytes().decode(encoding)) == [text, "é"]


@pytest.mark.parametrize("name", ["emit", "audit", "sql", "sql csv", "why json", "audit list"])
def test_output_that_cannot_be_written_is_a_sentence(name: str, run: Callable[..., Ran]) -> None:
    _, made, _ = run(QUICK[name])
    code, others, said = run(QUICK[name], '"$@" > /dev/full')
    assert code == 2
    assert said.splitlines()[-1] == (
        "error: standard output cannot be written: No space left on device"
    )
    assert _alike(others) == _alike(made)


def test_a_reader_that_has_enough_ends_a_query(emitted: Path) -> None:
    query = "select i, repeat('x', 1000) from range(1_000_000_000) t(i)"
    ask = f'"{sys.executable}" -m immune_data.sql --data "{emitted}" --csv "{query}"'
    shell = f"{ask} | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"i,")


def test_a_closed_stream_is_not_the_next_file_opened(
    emitted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files get the lowest number that is free: what is printed would go into them."""
    source = f'"{sys.executable}" -m immune_data.emit --source "{emitted}/source"'
    subprocess.run(["bash", "-c", f"{source} --data a <&- >&- 2>&-"], cwd=tmp_path, check=True)
    arguments = ["--source", str(emitted / "source"), "--data", str(tmp_path / "b")]
    assert emit.main(arguments) == 0
    a, b = (_alike(digests(tmp_path / out)) for out in "ab")
    assert a == b
    capsys.readouterr()
    assert sql.main(["--data", str(tmp_path / "a"), "--csv", "from funnel"]) == 0
    assert "read,16" in capsys.readouterr().out


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&-", "2>&-", "<&- >&-"])
def test_what_is_printed_to_a_closed_stream_is_in_no_file(closed: str, tmp_path: Path) -> None:
    """Between opening a file and closing it, as a library does that says how far it is."""
    program = """if True:
        import sys
        from immune_data.common import streams
        with streams.patient(), open("a", "w") as a, open("b", "w") as b:
            print("printed", flush=True)
            print("printed", file=sys.stderr, flush=True)
            print("a", file=a)
            print("b", file=b)
        """
    command = f'"{sys.executable}" -c "$0" {closed}'
    subprocess.run(["bash", "-c", command, program], cwd=tmp_path, check=True, capture_output=True)
    assert [(tmp_path / name).read_text() for name in "ab"] == ["a\n", "b\n"]


def test_training_needs_no_reader(
    training_out: Callable[[str], Path], tiny_model: Path, tmp_path: Path
) -> None:
    train = [
        *(*warm.commands(), "immune_train.sft", "--config", "tiny", "--output", "run"),
        *("--data", training_out("unified-clean"), "--model", tiny_model),
        *("records_train=3", "records_eval=3", "num_train_epochs=1", "lora_r=4", "merge=false"),
    ]
    shell = '"$@" 2>&1 | true; exit ${PIPESTATUS[0]}'
    done = subprocess.run(["bash", "-c", shell, "bash", *map(str, train)], cwd=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()
    assert (tmp_path / "run" / "run.json").is_file()
