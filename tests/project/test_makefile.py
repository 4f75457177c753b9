"""The Makefile: with what llama.cpp is built."""

from __future__ import annotations

import os
import shlex
import subprocess

import pytest
from conftest import REPOSITORY


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
        assert include == f"-DCMAKE_PROJECT_INCLUDE={REPOSITORY}/.venv/llama-cpp.cmake"
    else:
        assert printed == own
