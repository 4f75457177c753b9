"""The whole way by the users' own commands, as `make judge-tiny` goes it."""

from __future__ import annotations

from pathlib import Path

import judge_tiny


def test_verdicts_change_winners(sample_source: Path, tmp_path: Path) -> None:
    assert judge_tiny.chain(sample_source, tmp_path / "work", incidents=4) > 0
