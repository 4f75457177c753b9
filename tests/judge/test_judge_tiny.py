"""The whole way by the users' own commands, as `make judge-tiny` goes it."""

from __future__ import annotations

from pathlib import Path

import edge_tiny
import judge_tiny
import pytest


def test_verdicts_change_winners(
    sample_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_tiny, "python", edge_tiny.python_here)
    assert judge_tiny.chain(sample_source, tmp_path / "work", incidents=4) > 0
