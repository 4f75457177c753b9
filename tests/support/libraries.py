"""Libraries that tests need, looked for and not loaded: it takes seconds, at every collection."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

# A mark for tests of what is trained.
training = pytest.mark.skipif(find_spec("peft") is None, reason="peft is not installed")
