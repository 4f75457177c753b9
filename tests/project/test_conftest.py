"""What the tests themselves need of their surroundings."""

from __future__ import annotations

import io
import logging

import pytest
from conftest import let_loggers_print


def test_a_library_that_an_earlier_test_loaded_logs_to_a_stream_that_is_open(
    capfd: pytest.CaptureFixture[str],
) -> None:
    stream = io.StringIO()
    logger = logging.getLogger("a library that a test loaded")
    logger.propagate = False
    logger.addHandler(logging.StreamHandler(stream))
    logger.warning("in the test that loads it")
    assert "in the test" in stream.getvalue()
    stream.close()
    let_loggers_print()
    logger.warning("in a later one")
    assert capfd.readouterr().err == "in a later one\n"
