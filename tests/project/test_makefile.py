"""The Makefile: its targets, and with what llama.cpp is built."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from conftest import REPOSITORY

INSTALLED = (".installed", ".installed-train", ".installed-edge", ".installed-dev")
MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")


def test_every_target_of_its_head_has_one_recipe() -> None:
    head = MAKEFILE.partition("\n\n")[0]
    targets = re.findall(r"^# make ([\w-]+)", head, re.MULTILINE)
    assert {"emit", "test", "train-tiny", "campaigns"} <= set(targets)
    # As if all were installed; what is printed to standard error is a warning or an error.
    installed = [f"--assume-old=.venv/{name}" for name in INSTALLED]
    # The make that runs the tests has told this process its own options.
    environment = {key: value for key, value in os.environ.items() if "MAKE" not in key}
    for target in targets:
        done = subprocess.run(
            ["make", "--dry-run", *installed, target],
            cwd=REPOSITORY,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, ""), target
        assert done.stdout, target


@pytest.mark.parametrize("own", [None, "-DGGML_CUDA=on", ""])
def test_llama_cpp_is_built_as_a_library_alone_unless_one_says_otherwise(own: str | None) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "CMAKE_ARGS"}
    if own is not None:
        environment["CMAKE_ARGS"] = own
    printed = subprocess.run(
        ["make", "--no-print-directory", "-f", "Makefile", "-f", "-", "print-cmake-args"],
        input='print-cmake-args:\n\t@echo "$$CMAKE_ARGS"\n',
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    if own is None:
        *arguments, include = shlex.split(printed)
        assert {"-DLLAMA_BUILD_TOOLS=OFF", "-DLLAMA_BUILD_SERVER=OFF"} <= set(arguments)
        assert all(one.startswith("-D") and one.endswith("=OFF") for one in arguments)
        name, _, path = include.partition("=")
        assert name == "-DCMAKE_PROJECT_INCLUDE"
        assert Path(path) == REPOSITORY / "llama-cpp.cmake"
        assert "set(LLAMA_BUILD_COMMON OFF)" in Path(path).read_text()
    else:
        assert printed == own
