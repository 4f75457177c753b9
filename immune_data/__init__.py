"""From judged LLM answers about network-security incidents to a fine-tuning dataset.

`from immune_data import Dataset` is the Python API (`immune_data.api`). It loads when it is asked
for: commands import this package too, and theirs should answer at once.
"""

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from immune_data.api import Dataset

__all__ = ["Dataset"]

NAME = "immune-sft"  # of the distribution
__version__ = "0.1.0"


def _runs_a_command() -> bool:
    """Whether this process is one of our commands, and not a program that imports us."""
    words = [*sys.orig_argv, ""]
    module = words[words.index("-m") + 1] if "-m" in words else ""
    script = Path(words[1]).name.removesuffix(".exe") in ("immune-data", "immune-train")
    return script or module.partition(".")[0] in ("immune_data", "immune_train")


if sys.platform == "win32":
    _SENTENCE = "immune runs on Linux and macOS, and on Windows in WSL: install it there"
    if _runs_a_command():
        print(f"error: {_SENTENCE}", file=sys.stderr)
        raise SystemExit(2)
    raise ImportError(_SENTENCE)

# Until a command handles Ctrl-C, and once it is done, there is nothing to be traced or tidied.
if _runs_a_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def __getattr__(name: str) -> Any:
    if name == "Dataset":
        from immune_data.api import Dataset

        return Dataset
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
