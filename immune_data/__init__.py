"""From judged LLM answers about network-security incidents to a fine-tuning dataset."""

import sys

__version__ = "0.1.0"

if sys.platform == "win32":
    _SENTENCE = "immune runs on Linux and macOS, and on Windows in WSL: install it there"
    if sys.argv[0] == "-m" or sys.argv[0].endswith(("immune-data", "immune-data.exe")):
        # A command: a sentence, and the exit code of all that cannot be done.
        print(f"error: {_SENTENCE}", file=sys.stderr)
        raise SystemExit(2)
    raise ImportError(_SENTENCE)
