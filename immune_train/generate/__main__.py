"""Ask a GGUF model about incidents, on this machine's processor.

    python -m immune_train.generate --model immune-q4_k_m.gguf --task all --incident incident.json

In: a model and one incident (a JSON object as in the source files, or a DAG's text alone), or the
records of an emitted `eval.jsonl`. Out: the answers, as text, as JSON with their fields, or, for a
whole file, as JSON lines with timings. Prompts are those of the training records, by recipe.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from immune_data.common import cli, files, streams, textfile
from immune_data.common.errors import ImmuneError
from immune_data.contract import answer_fields, control_tokens
from immune_data.contract.chat import with_system
from immune_data.prompts import TASKS
from immune_train.artifacts import provenance
from immune_train.edge import grammar

if TYPE_CHECKING:
    from immune_train.edge.engine import LocalModel
    from immune_train.edge.questions import Asker, Incident, Question
    from immune_train.edge.writing import Answer

STDIN = "-"


@dataclass(frozen=True)
class Settings:
    """What decides an answer beside the model and the prompt."""

    grammars: tuple[str, ...]
    max_tokens: int | None
    temperature: float
    seed: int

    def limit(self, question: Question) -> int:
        return self.max_tokens or question.room

    def grammar(self, question: Question) -> str | None:
        """The task whose grammar the answer follows, if it does."""
        return question.task if question.task in self.grammars else None

    def refuse_too_few(self, questions: Iterable[Question]) -> None:
        """Before anything is answered: each task's grammar must have room to end.

        Raises:
            ImmuneError: answers to some task are allowed too few tokens.
        """
        from immune_train.edge.ending import Ending

        limits: dict[str, int] = {}
        for question in questions:
            if task := self.grammar(question):
                limits[task] = min(self.limit(question), limits.get(task, self.limit(question)))
        for task, limit in limits.items():
            Ending(task, limit)


def parser() -> argparse.ArgumentParser:
    made = cli.parser(
        "immune_train.generate",
        summary="Ask a GGUF model for an incident's summary, causes or risk.",
        example="python -m immune_train.generate --model immune-q4_k_m.gguf --task all"
        " --incident incident.json",
    )
    made.add_argument("--model", type=Path, help="a GGUF file of ours")
    made.add_argument(
        "--task",
        choices=(*TASKS, "all"),
        help="what to ask for (default: all with --eval)",
    )
    what = made.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--incident", help="an incident: a file of one JSON object, or the object itself"
    )
    what.add_argument("--dag", type=Path, help="a file of a DAG's text; its header gives the facts")
    what.add_argument("--eval", type=Path, help="emitted records, each to be answered anew")
    what.add_argument(
        "stdin", nargs="?", choices=(STDIN,), help="read an incident or a DAG's text from stdin"
    )
    made.add_argument(
        "--recipe",
        help="the recipe that the model was trained on (default: the one that its file names, or"
        " unified-clean)",
    )
    made.add_argument(
        "--request",
        action="store_true",
        help="print what to send to a chat server that runs the model, instead of running it",
    )
    made.add_argument("--stream", action="store_true", help="print text as it comes")
    made.add_argument("--json", action="store_true", help="print answers with their parsed fields")
    made.add_argument(
        "--grammar",
        action=argparse.BooleanOptionalAction,
        help="only let the documented structure through (default: for risk; offered for cause)",
    )
    made.add_argument(
        "--side-by-side",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="with --task all, write answers that share their evidence a token of each at a time"
        " (default; see bench_edge for what is faster here)",
    )
    made.add_argument("--threads", type=cli.threads, help="default: one per processor")
    made.add_argument(
        "--context", type=cli.positive, help="tokens (default: what the model was trained with)"
    )
    made.add_argument(
        "--max-tokens",
        type=cli.positive,
        help="of an answer (default: those of the longest that the recipe allows)",
    )
    made.add_argument("--temperature", type=_temperature, default=0.0, help="default: 0, greedy")
    made.add_argument(
        "--seed", type=cli.seed, default=0, help="of a temperature above 0 (default: 0)"
    )
    made.add_argument("--output", type=Path, help="write there instead of to standard output")
    return made


def command(arguments: argparse.Namespace) -> None:
    settings = _settings(arguments)
    if arguments.output:
        files.target(arguments.output)  # said before answers are written, not after
    model = arguments.model
    if arguments.request and not (model and model.is_file()):
        model = None  # then it is only the name that a server knows it by
    asker = provenance.asker(model, arguments.recipe, arguments.context)
    if arguments.request or arguments.eval:
        streams.for_programs()
    with nullcontext() if arguments.output else streams.for_reader():
        if arguments.request:
            _print_request(arguments, settings, asker)
        elif arguments.eval:
            _answer_records(arguments, settings, asker)
        else:
            _answer_incident(arguments, settings, asker)


def main(argv: Sequence[str] | None = None) -> int:
    return cli.run(parser(), command, argv)


def answer(model: LocalModel, question: Question, settings: Settings, say=None) -> Answer:
    """The model's answer to one question."""
    return model.answer(
        question.ids,
        settings.limit(question),
        grammar=settings.grammar(question),
        temperature=settings.temperature,
        seed=settings.seed,
        say=say,
    )


def answers(
    model: LocalModel, questions: Sequence[Question], settings: Settings, *, beside: bool = True
) -> list[Answer]:
    """The model's answers to questions about one incident, side by side where they may be."""
    from immune_train.edge.writing import Prompt

    prompts = [Prompt(one.ids, settings.limit(one), settings.grammar(one)) for one in questions]
    return model.answers(
        prompts, temperature=settings.temperature, seed=settings.seed, beside=beside
    )


def as_row(model: LocalModel, question: Question, given: Answer) -> dict[str, Any]:
    """An answer as it is written: a line of JSON."""
    return {
        "incident_id": question.incident_id,
        "task": question.task,
        "model": model.path.name,
        "answer": given.text,
        "fields": answer_fields.parse(question.task, given.text).fields,
        "finish": given.finish,
        "tokens": given.tokens,
        "max_tokens": given.limit,
        "dag_tokens": question.dag_tokens,
        "dag_tokens_shown": question.dag_tokens_shown,
        "prompt_tokens": given.prompt_tokens,
        "evaluated_tokens": given.evaluated_tokens,
        "prefill_seconds": round(given.prefill_seconds, 3),
        "generation_seconds": round(given.generation_seconds, 3),
    }


def _settings(arguments: argparse.Namespace) -> Settings:
    if arguments.request:
        if arguments.eval or arguments.stream or arguments.task not in TASKS:
            raise ImmuneError(
                "--request prints one request: give one --task and one incident, and leave out"
                " --eval and --stream"
            )
    elif arguments.model is None:
        raise ImmuneError("--model is missing: give a GGUF file that `immune_train.export` wrote")
    if arguments.stream and (arguments.json or arguments.eval or arguments.output):
        raise ImmuneError("--stream prints text as it comes: leave out --json, --eval and --output")
    if arguments.task is None:
        if not arguments.eval:
            raise ImmuneError(f"--task is missing: give one of {', '.join((*TASKS, 'all'))}")
        arguments.task = "all"
    grammars = {None: grammar.BY_DEFAULT, True: grammar.TASKS, False: ()}[arguments.grammar]
    if arguments.grammar and arguments.task == "summary":
        raise ImmuneError(
            f"there is no grammar of a summary, only of {' and '.join(grammar.TASKS)}: "
            "leave out --grammar"
        )
    return Settings(grammars, arguments.max_tokens, arguments.temperature, arguments.seed)


def _temperature(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 10:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 10")
    return value


# One incident


def request(question: Question, settings: Settings, model: str | None) -> dict[str, Any]:
    """What to send to a chat server so that it answers as `generate` does.

    Everything that decides an answer is said, since servers have defaults of their own. Texts are
    composed, which Qwen2.5's tokenizer does and llama.cpp does not.

    Raises:
        ImmuneError: the prompt holds a control token as text, which a server obeys, or there is not
            room enough for an answer under the grammar.
    """
    from immune_train.edge.ending import Ending
    from immune_train.edge.sampling import NEVER_WRITTEN

    for message in question.messages:
        if control_tokens.found(message.content):
            raise ImmuneError(
                "the prompt holds a control token as text, which a server would obey: ask without "
                "--request, or by a recipe that neutralises them"
            )
    said = {
        "messages": [
            {"role": message.role, "content": textfile.composed(message.content)}
            for message in with_system(question.messages)
        ],
        "max_tokens": settings.limit(question),
        "temperature": settings.temperature,
        "seed": settings.seed,
        # No filter, no penalty: addresses and counts are there to be repeated.
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "repeat_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "mirostat_mode": 0,
        # An answer is text: of the added tokens only those that end it can be chosen.
        "logit_bias": {str(token): -100.0 for token in NEVER_WRITTEN},
        "stream": False,
    }
    if task := settings.grammar(question):
        Ending(task, settings.limit(question))  # or it would be cut off before it is one
        said["grammar"] = grammar.gbnf(task)
    return {"model": model, **said} if model else said


def _print_request(arguments: argparse.Namespace, settings: Settings, asker: Asker) -> None:
    (question,) = asker.questions(_incident(arguments), [arguments.task])
    _say(_evidence_shown([question]))
    model = arguments.model.stem if arguments.model else None
    text = json.dumps(request(question, settings, model), ensure_ascii=False)
    if arguments.output is None:
        print(text)
    else:
        with files.replacing(arguments.output) as beside:
            beside.write_text(f"{text}\n", encoding="utf-8")
        print(f"wrote {arguments.output}")


def _answer_incident(arguments: argparse.Namespace, settings: Settings, asker: Asker) -> None:
    from immune_train.edge.engine import LocalModel

    incident = _incident(arguments)
    tasks = TASKS if arguments.task == "all" else (arguments.task,)
    questions = asker.questions(incident, tasks)
    settings.refuse_too_few(questions)
    _say(_evidence_shown(questions))
    model = LocalModel(arguments.model, asker.context, threads=arguments.threads)
    rows = []
    if arguments.stream:
        for i, question in enumerate(questions):
            print(_heading(question.task, i, len(questions)), end="")
            rows.append(as_row(model, question, answer(model, question, settings, _stream)))
            print(_marked("", rows[-1]), flush=True)
            _say(_took(rows[-1]))
    else:
        given = answers(model, questions, settings, beside=arguments.side_by_side)
        rows = [as_row(model, *one) for one in zip(questions, given, strict=True)]
        for row in rows:
            _say(_took(row))
    if len(rows) > 1:
        evaluated = sum(row["evaluated_tokens"] for row in rows)
        apart = sum(row["prompt_tokens"] for row in rows)
        _say(
            f"all: {evaluated:,} prompt tokens evaluated; asked one by one they are {apart:,}"
            f" ({apart / evaluated:.2f} times as many)"
        )
    if arguments.stream:
        return
    if arguments.json:
        content = {
            "incident_id": incident.incident_id,
            "model": arguments.model.name,
            "recipe": asker.recipe,
            "answers": {
                row["task"]: {
                    key: value
                    for key, value in row.items()
                    if key not in ("incident_id", "task", "model")
                }
                for row in rows
            },
        }
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    else:
        text = "".join(
            f"{_heading(row['task'], i, len(rows))}{_marked(row['answer'], row)}\n"
            for i, row in enumerate(rows)
        )
    if arguments.output is None:
        print(text, end="", flush=True)
    else:
        with files.replacing(arguments.output) as beside:
            beside.write_text(text, encoding="utf-8")
        print(f"wrote {arguments.output}")


def _incident(arguments: argparse.Namespace) -> Incident:
    from immune_train.edge.questions import incident_from_dag, incident_from_json

    if arguments.stdin:
        text = textfile.decoded(sys.stdin.buffer.read(), "standard input")
        read = incident_from_json if text.lstrip().startswith("{") else incident_from_dag
        return read(text, "standard input")
    if arguments.dag:
        return incident_from_dag(textfile.read(arguments.dag), str(arguments.dag))
    given = arguments.incident.removeprefix("\ufeff")
    if not given.strip() or given.lstrip().startswith(("{", "[")):
        return incident_from_json(given, "--incident")
    return incident_from_json(textfile.read(Path(arguments.incident)), arguments.incident)


def _heading(task: str, number: int, of: int) -> str:
    return "" if of == 1 else f"{chr(10) if number else ''}--- {task} ---\n"


def _stream(piece: str) -> None:
    print(piece, end="", flush=True)


def _say(line: str | None) -> None:
    if line:
        print(line, file=sys.stderr, flush=True)


def _evidence_shown(questions: list[Question]) -> str | None:
    cut = {
        question.task: question.dag_tokens_shown
        for question in questions
        if question.dag_tokens_shown != question.dag_tokens
    }
    if not cut:
        return None
    shown = ", ".join(f"{task} {tokens:,}" for task, tokens in cut.items())
    return f"of the evidence's {questions[0].dag_tokens:,} tokens are shown: {shown}"


def _ended(row: dict[str, Any]) -> str | None:
    """Why an answer ends, if not by itself."""
    ends = {"length": "cut off", "wound_up": "wound up"}
    if row["finish"] not in ends:
        return None
    return f"{ends[row['finish']]}: its room of {row['max_tokens']:,} tokens was used up"


def _marked(answer: str, row: dict[str, Any]) -> str:
    ended = _ended(row)
    return f"{answer}\n[{ended}]" if ended else answer


def _took(row: dict[str, Any]) -> str:
    ended = _ended(row)
    return (
        f"{row['task']}: {row['evaluated_tokens']:,} of {row['prompt_tokens']:,} prompt tokens"
        f" evaluated in {row['prefill_seconds']:.1f} s, {row['tokens']:,} generated in"
        f" {row['generation_seconds']:.1f} s"
        + (f"; {ended} (raise --max-tokens or --context)" if ended else "")
    )


# A file of records


def _answer_records(arguments: argparse.Namespace, settings: Settings, asker: Asker) -> None:
    from immune_train.edge.engine import LocalModel

    questions = list(_questions(arguments, asker))
    settings.refuse_too_few(questions)
    _say(provenance.asked_otherwise(arguments.eval, asker))
    needed = max(len(question.ids) + settings.limit(question) for question in questions)
    # The evidence of a record was cut for the answer that it has, and the model's may be longer.
    context = arguments.context or max(asker.context, needed)
    if arguments.output is None:
        model = LocalModel(arguments.model, context, threads=arguments.threads)
        for question in questions:
            row = as_row(model, question, answer(model, question, settings))
            print(json.dumps(row, ensure_ascii=False), flush=True)
        return
    run = {
        "model": arguments.model.name,
        "model_sha256": _sha256(arguments.model),
        "eval_sha256": _sha256(arguments.eval),
        "task": arguments.task,
        "context": context,
        **asdict(settings),
    }
    output = arguments.output
    with _going_on(output, run) as (done, file), cli.progress() as report:
        left = questions[_agreeing(done, questions, output) :]
        if done:
            report(f"{len(done)} of {len(questions)} answers are there from before")
        report(f"loading {arguments.model}")
        model = LocalModel(arguments.model, context, threads=arguments.threads) if left else None
        start = time.monotonic()
        for i, question in enumerate(left, 1):
            row = as_row(model, question, answer(model, question, settings))
            file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            file.flush()
            took = time.monotonic() - start
            report(
                f"{len(done) + i}/{len(questions)} {_took(row)};"
                f" about {_duration(took / i * (len(left) - i))} left"
            )
    print(f"wrote {output}: {len(questions)} answers")


def _questions(arguments: argparse.Namespace, asker: Asker) -> Iterator[Question]:
    from immune_train.edge.questions import record_from_json

    path, task = arguments.eval, arguments.task
    found = False
    text = textfile.read(path)
    for number, line in enumerate(text.removesuffix("\n").split("\n") if text else [], 1):
        record = record_from_json(line, f"line {number} of {path}")
        if task in ("all", record.task):
            found = True
            yield asker.from_record(record)
    if not found:
        raise ImmuneError(f"{path} holds no record of task {task}")


@contextmanager
def _going_on(output: Path, run: dict[str, Any]) -> Iterator[tuple[list[dict], IO[bytes]]]:
    """The answers that an interrupted run left, and the file to add to; it is named at the end.

    The file's first line says what the answers were made of, so that only the same run goes on.
    """
    unfinished = output.with_name(f".{output.name}.unfinished")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        file = unfinished.open("a+b")
    except OSError as error:
        raise ImmuneError(f"cannot write {output}: {error.strerror}") from None
    with file:
        files.hold(file.fileno(), output)
        file.seek(0)
        lines = file.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):  # killed in the middle of it
            lines.pop()
        try:
            header, *done = [json.loads(line) for line in lines] or [None]
        except ValueError:
            raise ImmuneError(f"{unfinished} is damaged: remove it to start anew") from None
        now = json.loads(json.dumps(run))
        if header is not None and header != now:
            others = ", ".join(sorted(key for key in now if header.get(key) != now[key]))
            raise ImmuneError(
                f"{unfinished} was begun with another {others}: "
                "remove it to start anew, or run with what it was begun with"
            )
        file.truncate(sum(map(len, lines)))
        if header is None:
            file.write(json.dumps(run).encode() + b"\n")
            file.flush()
        yield done, file
        file.flush()
        file.seek(0)
        file.readline()
        with files.replacing(output) as beside, beside.open("wb") as final:
            for line in file:
                final.write(line)
        unfinished.unlink()


def _agreeing(done: list[dict], questions: list[Question], output: Path) -> int:
    """The number of answers that are there; they must be those of the first questions."""
    for row, question in zip(done, questions, strict=False):
        if (row["incident_id"], row["task"]) != (question.incident_id, question.task):
            raise ImmuneError(f"the unfinished {output} is damaged: remove it to start anew")
    return len(done)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImmuneError(f"cannot read {path}: {error.strerror}") from None


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


if __name__ == "__main__":
    sys.exit(main())
