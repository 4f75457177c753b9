"""What the environment says of a run's processes: one that is alone, one of several, or a half."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from immune_data.common.errors import ImmuneError
from immune_train.configs import processes
from immune_train.sft import __main__ as sft

NUMBERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")

numbers = st.one_of(st.none(), st.sampled_from(["", " ", "one", "1.5", "-1", "0", "1", "2", "7"]))
addresses = st.one_of(st.none(), st.sampled_from(["", "127.0.0.1", "29500"]))


def complaint() -> str:
    try:
        processes.check()
    except ImmuneError as error:
        return str(error)
    return ""


@given(st.tuples(numbers, numbers, numbers, addresses, addresses))
def test_a_process_is_alone_or_one_of_several_or_refused(values: tuple[str | None, ...]) -> None:
    """None that is alone keeps silent, and none is half of several."""
    with pytest.MonkeyPatch.context() as patched:
        for name, value in zip((*NUMBERS, *ADDRESS), values, strict=True):
            patched.delenv(name, raising=False)
            if value is not None:
                patched.setenv(name, value)
        message = complaint()
        if message:
            assert "unset" in message
            assert any(name in message for name in NUMBERS)
            return
        if processes.number() == 1:
            assert processes.is_first()
            assert not set(os.environ) & {*NUMBERS, *ADDRESS}
            return
        rank, local, number = (int(os.environ[name]) for name in NUMBERS)
        assert processes.number() == number
        assert processes.is_first() == (rank == 0)
        assert 0 <= rank < number
        assert 0 <= local < number
        assert all(os.environ[name] for name in ADDRESS)


@pytest.mark.usefixtures("quick")
def test_a_rank_alone_is_refused_and_an_empty_one_is_none(
    training_out: Callable[[str], Path],
    tiny_model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    refused: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = ["--data", str(training_out("unified-clean")), "--model", str(tiny_model)]
    arguments = ["--config", "tiny", *folders, "--output", str(tmp_path / "run")]
    monkeypatch.setenv("RANK", "1")
    for more in (["--dry-run"], []):
        message = refused(sft.main, *arguments, *more)
        assert message.startswith("RANK=1 in the environment says that this is one of several")
        assert "torchrun" in message
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv("RANK", "")
    assert sft.main([*arguments, "--dry-run"]) == 0
    assert "nothing was trained" in capsys.readouterr().out
