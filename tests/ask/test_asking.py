"""Scripted servers are asked: what comes is stored once, and no failure becomes an answer."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from pathlib import Path

import pytest
from asked import MODEL, ask, question, questions
from chat_server import HTML, ChatServer, Hang, Raw, Seen, answer, completion, error, well

from immune_data.ask import asking, pace
from immune_data.ask.endpoints import Endpoint
from immune_data.ask.replies import Reply
from immune_data.ask.request import Question
from immune_data.ask.store import MOST_REPLIES, Rejected, Store

SHORT = 1.0  # seconds that a reply may take where one hangs


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are a hundredth of what they are."""
    monkeypatch.setattr(pace, "_FIRST", 0.0025)
    monkeypatch.setattr(pace, "_LONGEST", 0.05)


def endpoint(server: ChatServer, **more: object) -> Endpoint:
    return Endpoint(url=server.url, model=MODEL, **more)  # type: ignore[arg-type]


def outcomes(store: Path, asked: list[Question]) -> list[Reply | Rejected]:
    with Store(store) as opened:
        return [opened.outcome(one) for one in asked]


def texts(store: Path, asked: list[Question]) -> list[str | None]:
    return [one.text if isinstance(one, Reply) else None for one in outcomes(store, asked)]


def test_a_question_is_asked_once_and_a_rerun_calls_nobody(tmp_path: Path) -> None:
    asked = questions(30)
    with ChatServer() as server:
        report = ask(tmp_path / "s", asked, [endpoint(server)], together=3)
        assert (report.sent, report.answered) == (30, 30)
        assert Counter(seen.key for seen in server.seen).most_common(1)[0][1] == 1
        assert ask(tmp_path / "s", asked, [endpoint(server)], together=3).sent == 0
        assert len(server.seen) == 30
        expected = sorted(answer(seen) for seen in server.seen)
    assert sorted(map(str, texts(tmp_path / "s", asked))) == expected
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_a_repeat_is_another_question_and_the_same_question_twice_is_one(tmp_path: Path) -> None:
    asked = [question(1), question(1), question(1, repeat=1), question(1, repeat=2), question(1)]
    with ChatServer() as server:
        assert ask(tmp_path / "s", asked, [endpoint(server)], together=2).sent == 3
    assert None not in texts(tmp_path / "s", asked)


BROKEN = {
    "busy": lambda: error(429, "slow down"),
    "server_error": lambda: error(500, "oops"),
    "html": lambda: HTML,
    "not_a_completion": lambda: Raw(b'{"choices": [{"message": {"content": "half an ans'),
    "broken": lambda: Raw(completion("An answer that is cut.").body, cut=20),
    "timeout": Hang,
}
BAD = {
    "error object": (lambda: Raw(b'{"error": {"message": "no"}}'), "not_a_completion"),
    "no choice": (lambda: Raw(b'{"choices": []}'), "not_a_completion"),
    "a list": (lambda: Raw(b"[]"), "not_a_completion"),
    "content of parts": (lambda: completion([{"type": "text"}]), "not_a_completion"),  # type: ignore[arg-type]
    "half a pair": (
        lambda: Raw(rb'{"choices":[{"message":{"content":"\ud800"},"finish_reason":"stop"}]}'),
        "not_a_completion",
    ),
    "redirected": (lambda: Raw(b"", 307, {"Location": "http://127.0.0.1:1/v1"}), "redirected"),
    "no such model": (lambda: error(404, "no such model"), "refused"),
    "wrong key": (lambda: error(401, "wrong key"), "refused"),
    "too much": (lambda: error(400, "context length exceeded"), "refused"),
    "dripping": (lambda: Raw(b" " * 10_000, dripping=0.05), "timeout"),
    **{name: (make, name) for name, make in BROKEN.items()},
}
UNUSABLE = {
    "empty": (lambda: completion(" \n"), "empty"),
    "nothing": (lambda: completion(None), "empty"),
    "cut": (lambda: completion("An answer that", finish="length"), "cut"),
    "filtered": (lambda: completion("An", finish="content_filter"), "filtered"),
    "tools": (lambda: completion("An answer.", finish="tool_calls"), "unfinished"),
    "no reason": (lambda: completion("An answer.", finish=None), "unfinished"),
    "quota": (
        lambda: completion("Error code: 429 - {'error': {'code': 'insufficient_quota'}}"),
        "error_text",
    ),
    "quota in words": (lambda: completion("You exceeded your current quota."), "error_text"),
    "proxy": (lambda: completion("upstream connect error or disconnect"), "error_text"),
    "page": (lambda: completion("<html><body>502 Bad Gateway</body></html>"), "error_text"),
    "json": (lambda: completion('{"error": "overloaded"}'), "error_text"),
    "exception": (lambda: completion("API Error: something broke"), "error_text"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_completion_is_a_failure_and_the_next_run_asks_again(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "TRIES", 2)
    make, reason = BAD[name]
    asked = [question(name)]
    with ChatServer(lambda seen, before: make()) as server:
        timeout = 0.2 if reason == "timeout" else 60.0
        report = ask(tmp_path / "s", asked, [endpoint(server, timeout=timeout)])
        assert (report.answered, 1 <= report.sent <= 2) == (0, True)
        (outcome,) = outcomes(tmp_path / "s", asked)
        assert isinstance(outcome, Rejected)
        assert outcome.is_open
        assert outcome.reason == reason
        server.script = well
        assert ask(tmp_path / "s", asked, [endpoint(server)]).answered == 1
    assert None not in texts(tmp_path / "s", asked)


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_reply_that_is_no_answer_is_asked_for_again_and_then_final(
    name: str, tmp_path: Path
) -> None:
    make, reason = UNUSABLE[name]
    asked = [question(name)]
    with ChatServer(lambda seen, before: make()) as server:
        for _ in range(2):
            report = ask(tmp_path / "s", asked, [endpoint(server)])
            assert (report.answered, len(server.seen)) == (0, MOST_REPLIES)
    (outcome,) = outcomes(tmp_path / "s", asked)
    assert isinstance(outcome, Rejected)
    assert (outcome.reason, outcome.is_open) == (reason, False)


def test_who_asks_says_what_an_answer_is(tmp_path: Path) -> None:
    asked = [question(1, problem=lambda text: None if "third" in text else "not the third")]
    with ChatServer(lambda seen, before: completion(("first", "second", "third")[before])) as it:
        assert ask(tmp_path / "s", asked, [endpoint(it)]).sent == 3
    assert texts(tmp_path / "s", asked) == ["third"]


@pytest.mark.parametrize(
    "usage",
    [
        None,
        "many",
        {"prompt_tokens": "100", "completion_tokens": -1},
        {"prompt_tokens": True, "completion_tokens": 2.5},
        {"prompt_tokens": 10**30, "completion_tokens": 0},
        [],
    ],
)
def test_a_wrong_count_of_tokens_costs_the_answer_nothing_but_the_count(
    usage: object, tmp_path: Path
) -> None:
    asked = [question(1)]
    with ChatServer(lambda seen, before: completion("An answer.", usage=usage)) as server:
        priced = endpoint(server, price_in=1.0, price_out=1.0)
        report = ask(tmp_path / "s", asked, [priced])
    (outcome,) = outcomes(tmp_path / "s", asked)
    assert isinstance(outcome, Reply)
    assert (outcome.usage.prompt, outcome.usage.answer) == (None, None)
    assert report.cost > 0  # the most that it can have been


def test_three_in_ten_fail_in_every_way_and_no_failure_is_an_answer(tmp_path: Path) -> None:
    made = [*BROKEN.values(), *(make for make, _ in UNUSABLE.values())]

    def script(seen: Seen, before: int) -> Raw | Hang:
        rng = random.Random(f"{seen.key} {before}")
        if rng.random() >= 0.3:
            return well(seen, before)
        way = rng.choice(made)
        return error(503) if way is Hang and rng.random() < 0.8 else way()

    asked = questions(150)
    with ChatServer(script) as server:
        for _ in range(10):
            ask(tmp_path / "s", asked, [endpoint(server, timeout=SHORT)], together=3)
            found = outcomes(tmp_path / "s", asked)
            if not any(isinstance(one, Rejected) and one.is_open for one in found):
                break
        right = {answer(seen) for seen in server.seen}
    answered = [one.text for one in found if isinstance(one, Reply)]
    assert len(answered) >= 140
    assert set(answered) <= right
    assert all(not one.is_open for one in found if isinstance(one, Rejected))


def test_endpoints_of_one_model_are_used_at_once_and_a_failing_one_costs_nothing(
    tmp_path: Path,
) -> None:
    def half(seen: Seen, before: int) -> Raw | Hang:
        with lock:
            tossed = coin.random()
        return well(seen, before) if tossed < 0.5 else error(500)

    lock, coin = threading.Lock(), random.Random(7)
    asked = questions(80)
    with ChatServer() as alone:
        ask(tmp_path / "alone", asked, [endpoint(alone)])
    with ChatServer() as good, ChatServer(half) as bad:
        report = ask(tmp_path / "both", asked, [endpoint(good), endpoint(bad)], together=2)
        assert report.answered == 80
        assert good.seen
        assert bad.seen
    assert texts(tmp_path / "both", asked) == texts(tmp_path / "alone", asked)


def test_an_endpoint_that_only_fails_is_given_up_and_the_rest_is_left_to_the_next_run(
    tmp_path: Path,
) -> None:
    asked = questions(200)
    with ChatServer(lambda seen, before: error(500, "broken")) as server:
        report = ask(tmp_path / "s", asked, [endpoint(server, max_concurrency=4)])
        assert len(server.seen) < 100
    assert list(report.out) == [endpoint(server).name]
    assert "broken" in report.out[endpoint(server).name]


def test_a_wrong_key_ends_the_run_at_once(tmp_path: Path) -> None:
    with ChatServer(lambda seen, before: error(401, "who are you")) as server:
        ask(tmp_path / "s", questions(50), [endpoint(server, max_concurrency=2)])
        assert len(server.seen) <= 2


def test_retry_after_is_obeyed_and_a_long_one_ends_the_run(tmp_path: Path) -> None:
    with ChatServer(lambda seen, before: error(429, Retry_After="86400")) as server:
        report = ask(tmp_path / "s", questions(5), [endpoint(server, max_concurrency=1)])
        assert len(server.seen) == 1
        assert "86,400 s" in report.out[endpoint(server).name]


def test_nobody_is_asked_more_at_once_than_the_endpoint_takes(tmp_path: Path) -> None:
    def slow(seen: Seen, before: int) -> Raw:
        return Raw(well(seen, before).body, seconds=0.02)

    with ChatServer(slow) as server:
        ask(tmp_path / "s", questions(30), [endpoint(server, max_concurrency=3)])
        assert server.at_once <= 3


def test_one_endpoint_is_asked_a_group_in_its_order(tmp_path: Path) -> None:
    asked = questions(12)
    with ChatServer() as server:
        ask(tmp_path / "s", asked, [endpoint(server, max_concurrency=2)], together=4)
        order = [seen.text for seen in server.seen]
    for i in range(0, 12, 4):
        places = [order.index(f"Say {n}.") for n in range(i, i + 4)]
        assert places == sorted(places)


def test_a_budget_is_never_passed(tmp_path: Path) -> None:
    asked = questions(100)
    with ChatServer() as server:
        # 100 and 20 tokens, as the server counts them: 0.3 each
        priced = endpoint(server, price_in=2000.0, price_out=5000.0, max_concurrency=5)
        report = ask(tmp_path / "s", asked, [priced], budget=10.0)
        assert report.over_budget
        assert 10 <= report.sent < 34
        assert report.cost == pytest.approx(0.3 * report.sent)
        assert report.cost <= 10.0
        assert ask(tmp_path / "t", asked, [priced], budget=0.01).sent == 0


def test_two_runs_on_one_store_ask_nothing_twice(tmp_path: Path) -> None:
    def slow(seen: Seen, before: int) -> Raw:
        return Raw(well(seen, before).body, seconds=0.01)

    asked = questions(120)
    with ChatServer(slow) as server:
        threads = [
            threading.Thread(target=ask, args=(tmp_path / "s", asked, [endpoint(server)]))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Counter(seen.key for seen in server.seen).most_common(1)[0][1] == 1
        assert len(server.seen) == 120
    assert None not in texts(tmp_path / "s", asked)


def test_a_question_that_another_run_asks_is_not_waited_for(tmp_path: Path) -> None:
    asked = questions(3)
    with ChatServer() as server, Store(tmp_path / "s") as other:
        assert other.claim(asked[:1]) == (asked[:1], [])
        report = ask(tmp_path / "s", asked, [endpoint(server)])
        assert (report.answered, report.held) == (2, 1)
        other.release(asked[:1])
        assert ask(tmp_path / "s", asked, [endpoint(server)]).answered == 1


def test_the_claims_of_a_run_that_is_gone_are_nobodys(tmp_path: Path) -> None:
    asked = questions(2)
    with Store(tmp_path / "s") as gone:
        gone.claim(asked)
        kept = gone._run
        gone._run = None  # it dies: nothing is tidied up
    with ChatServer() as server:
        assert (tmp_path / f"s-run-{kept}").exists()
        assert ask(tmp_path / "s", asked, [endpoint(server)]).answered == 2
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


SECRET = "sk-planted-key/with+signs=="


def test_a_key_is_found_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Although the server repeats it in answers, in errors and in the name of the model."""
    monkeypatch.setenv("PLANTED", SECRET)
    monkeypatch.setenv("OPENAI_LOG", "debug")
    monkeypatch.setenv("OPENAI_ORG_ID", "our-organisation")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Ours: for nobody else")

    def echo(seen: Seen, before: int) -> Raw:
        key = seen.headers["authorization"].removeprefix("Bearer ")
        assert key == SECRET
        if before == 0:
            return error(500, f"no access with {key}")
        return completion(f"Your key is {key}.", model=f"model-{key}", finish="stop")

    asked = questions(6)
    with ChatServer(echo) as server:
        report = ask(tmp_path / "s", asked, [endpoint(server, key_env="PLANTED")])
        assert report.answered == 6
        assert "our-organisation" not in json.dumps([seen.headers for seen in server.seen])
        assert "for nobody else" not in json.dumps([seen.headers for seen in server.seen])
    assert set(texts(tmp_path / "s", asked)) == {"Your key is [PLANTED]."}
    for path in tmp_path.rglob("*"):
        assert SECRET.encode() not in path.read_bytes()
    said = capfd.readouterr()
    assert SECRET not in said.out + said.err + repr(report)


def test_a_schema_goes_to_servers_that_have_it(tmp_path: Path) -> None:
    from immune_data.ask.request import Request
    from immune_data.prompts import Message

    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    request = Request(MODEL, (Message("user", "Say."),), {"max_tokens": 9}, schema)
    asked = [Question(request, "i", lambda text: None, repeat) for repeat in range(2)]
    with ChatServer() as has, ChatServer() as lacks:
        ask(tmp_path / "s", asked[:1], [endpoint(has, json_schema=True, served_as="theirs")])
        ask(tmp_path / "s", asked[1:], [endpoint(lacks, limit_as="max_completion_tokens")])
        assert has.seen[0].body["response_format"]["json_schema"]["schema"] == schema
        assert (has.seen[0].body["model"], has.seen[0].body["max_tokens"]) == ("theirs", 9)
        assert "response_format" not in lacks.seen[0].body
        assert (lacks.seen[0].body["model"], lacks.seen[0].body["max_completion_tokens"]) == (
            "m",
            9,
        )
