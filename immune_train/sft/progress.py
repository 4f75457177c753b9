"""The output of a run while it trains: lines or a bar, `metrics.jsonl`, and a stop that saves.

These are callbacks of the trainer, defined late because importing `transformers` takes seconds.
"""

from __future__ import annotations

import json
import math
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from immune_train.artifacts import run
from immune_train.configs import processes

# Values that are the same for the same seed, on any clock and machine.
_RECORDED = ("loss", "grad_norm", "learning_rate", "epoch")


def record(folder: Path) -> Any:
    """A callback that writes each logged step to `metrics.jsonl`, resuming where a run stopped."""
    from transformers import TrainerCallback

    class Record(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.is_world_process_zero:
                step = state.global_step
                lines = [line for line in run.metrics(folder) if line["step"] <= step and step]
                run.write(folder, run.METRICS, "".join(map(_line, lines)))

        def on_log(
            self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any
        ) -> None:
            values = _shown_values(logs or {})
            if state.is_world_process_zero and values:
                with (folder / run.METRICS).open("a", encoding="utf-8") as file:
                    file.write(_line({"step": state.global_step, **values}))

    return Record()


def show() -> Any:
    """A callback that shows losses: a bar with lines above it on a terminal, otherwise lines."""
    from transformers import ProgressCallback, TrainerCallback

    def line(state: Any, logs: Mapping[str, Any]) -> str:
        parts = [f"step {state.global_step:,} of {state.max_steps:,}"]
        parts += [f"{_name(key)} {value:.4g}" for key, value in _shown_values(logs).items()]
        return "  ".join(parts)

    class Lines(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self._start, self._first_step = time.monotonic(), state.global_step

        def on_log(
            self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any
        ) -> None:
            if state.is_world_process_zero and _shown_values(logs or {}):
                steps = state.global_step - self._first_step
                remaining = state.max_steps - state.global_step
                estimate = ""
                if "loss" in logs and steps and remaining:
                    seconds = (time.monotonic() - self._start) / steps * remaining
                    estimate = f"  about {_duration(seconds)} left"
                print(line(state, logs) + estimate, file=sys.stderr)

    class Bar(ProgressCallback):
        def on_log(
            self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any
        ) -> None:
            if self.training_bar is not None and _shown_values(logs or {}):
                self.training_bar.write(line(state, logs), file=sys.stderr)

    return Bar() if sys.stderr.isatty() else Lines()


def last_step() -> Any:
    """A callback that saves the last step, and evaluates it if the run has evaluations.

    Everything after training is made from that checkpoint.
    """
    from transformers import TrainerCallback

    class LastStep(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step >= state.max_steps:
                control.should_evaluate |= args.eval_strategy != "no"
                control.should_save = True

    return LastStep()


class Stop:
    """Ctrl-C and SIGTERM: the first one saves after the current step and ends the run, the second
    one ends it at once.

    `signal` is the number of the signal received; several processes act on it at the same step.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._handlers: dict[int, Any] = {}

    def callback(self) -> Any:
        from transformers import TrainerCallback

        stop = self

        class Stopping(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if stop._is_requested(args.device):
                    control.should_save = control.should_training_stop = True

        return Stopping()

    def __enter__(self) -> Stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._handlers[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: Any) -> None:
        if self.signal is not None:
            handler = self._handlers[number]
            if callable(handler):
                handler(number, frame)
            raise KeyboardInterrupt
        self.signal = number
        print("stopping after this step; repeat to stop at once", file=sys.stderr)

    def _is_requested(self, device: Any) -> bool:
        """Whether any process received a signal: signals arrive at different times."""
        from torch import distributed, tensor

        if processes.number() > 1:
            number = tensor(self.signal or 0, device=device)
            distributed.all_reduce(number, distributed.ReduceOp.MAX)
            self.signal = int(number) or None
        return self.signal is not None


def warnings(history: Sequence[Mapping[str, Any]], vocabulary: int) -> list[str]:
    """Signs in the log of a complete run that its training went wrong."""
    messages = []
    losses = [log["eval_loss"] for log in history if "eval_loss" in log]
    last = (losses or [log["loss"] for log in history if "loss" in log] or [0.0])[-1]
    chance = math.log(vocabulary)
    if last > 0.98 * chance:
        messages.append(
            f"the last loss, {last:.2f}, is no better than a guess among all {vocabulary:,} tokens "
            f"(ln = {chance:.2f}): check that the base is a trained model, and train longer"
        )
    elif len(losses) > 1 and min(losses[1:]) >= losses[0]:
        messages.append(
            f"no eval loss was below {losses[0]:.4f}, that of the base before training: lower "
            "learning_rate, or train longer"
        )
    steps = [log["step"] for log in history if log.get("grad_norm") == 0]
    if steps:
        messages.append(
            f"the gradient was 0 at {len(steps):,} of the recorded steps (first: {steps[0]:,}), so "
            "nothing was learned there: check that the adapter's layers carry loss"
        )
    return messages


def _shown_values(logs: Mapping[str, Any]) -> dict[str, float]:
    """The values of a log that are recorded and shown; none if it contains no loss."""
    values = {
        key: value
        for key, value in logs.items()
        if key in _RECORDED or (key.startswith("eval_") and key.endswith("loss"))
    }
    return values if values.keys() - {"epoch"} else {}


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes or 1} min"


def _name(key: str) -> str:
    return key.replace("_", " ").removesuffix(" loss") if key.endswith("_loss") else key


def _line(values: Mapping[str, Any]) -> str:
    return json.dumps(run.finite(values)) + "\n"
