"""What a run says while it trains: lines or a bar, `metrics.jsonl`, and a stop that saves.

These are callbacks of the trainer, made late, since importing `transformers` takes seconds.
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

# What a run with the same seed gives again; what a clock or a machine decides has no place there.
_KEPT = ("loss", "grad_norm", "learning_rate", "epoch")


def record(folder: Path) -> Any:
    """A callback that writes each logged step to `metrics.jsonl`, resuming where a run stopped."""
    from transformers import TrainerCallback

    class Record(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.is_world_process_zero:
                done = state.global_step
                before = [line for line in run.metrics(folder) if line["step"] <= done and done]
                run.write(folder, run.METRICS, "".join(map(_line, before)))

        def on_log(
            self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any
        ) -> None:
            kept = _kept(logs or {})
            if state.is_world_process_zero and kept:
                with (folder / run.METRICS).open("a", encoding="utf-8") as file:
                    file.write(_line({"step": state.global_step, **kept}))

    return Record()


def show() -> Any:
    """A callback that shows losses: a bar with lines above it on a terminal, else lines."""
    from transformers import ProgressCallback, TrainerCallback

    def line(state: Any, logs: Mapping[str, Any]) -> str:
        said = [f"step {state.global_step:,} of {state.max_steps:,}"]
        said += [f"{_name(key)} {value:.4g}" for key, value in _kept(logs).items()]
        return "  ".join(said)

    class Lines(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self._began, self._first = time.monotonic(), state.global_step

        def on_log(
            self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any
        ) -> None:
            if state.is_world_process_zero and _kept(logs or {}):
                done = state.global_step - self._first
                ahead = state.max_steps - state.global_step
                left = ""
                if "loss" in logs and done and ahead:
                    seconds = (time.monotonic() - self._began) / done * ahead
                    left = f"  about {_duration(seconds)} left"
                print(line(state, logs) + left, file=sys.stderr)

    class Bar(ProgressCallback):
        def on_log(
            self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any
        ) -> None:
            if self.training_bar is not None and _kept(logs or {}):
                self.training_bar.write(line(state, logs), file=sys.stderr)

    return Bar() if sys.stderr.isatty() else Lines()


def at_the_end() -> Any:
    """A callback that saves the last step, wherever it falls, and evaluates it if any is.

    What follows training is made of that checkpoint, again if need be.
    """
    from transformers import TrainerCallback

    class AtTheEnd(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step >= state.max_steps:
                control.should_evaluate |= args.eval_strategy != "no"
                control.should_save = True

    return AtTheEnd()


class Stop:
    """Ctrl-C and SIGTERM: the first one saves after the step at hand and ends the run, the second
    one ends it at once.

    `signal` is the number of the one that came; several processes see it at the same step.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def callback(self) -> Any:
        from transformers import TrainerCallback

        stop = self

        class Stopping(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if stop._asked_of_any(args.device):
                    control.should_save = control.should_training_stop = True

        return Stopping()

    def __enter__(self) -> Stop:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: Any) -> None:
        if self.signal is not None:
            before = self._before[number]
            if callable(before):
                before(number, frame)
            raise KeyboardInterrupt
        self.signal = number
        print("stopping after this step; once more to stop at once", file=sys.stderr)

    def _asked_of_any(self, device: Any) -> bool:
        """Whether any process was asked: a signal reaches them at different moments."""
        from torch import distributed, tensor

        if processes.number() > 1:
            asked = tensor(self.signal or 0, device=device)
            distributed.all_reduce(asked, distributed.ReduceOp.MAX)
            self.signal = int(asked) or None
        return self.signal is not None


def warnings(history: Sequence[Mapping[str, Any]], vocabulary: int) -> list[str]:
    """What a run's log says against it, though it came to its end."""
    found = []
    losses = [log["eval_loss"] for log in history if "eval_loss" in log]
    last = (losses or [log["loss"] for log in history if "loss" in log] or [0.0])[-1]
    chance = math.log(vocabulary)
    if last > 0.98 * chance:
        found.append(
            f"the last loss, {last:.2f}, is no better than a guess among all {vocabulary:,} tokens "
            f"(ln = {chance:.2f}): see whether the base is a trained model, and train longer"
        )
    elif len(losses) > 1 and min(losses[1:]) >= losses[0]:
        found.append(
            f"no eval loss was below {losses[0]:.4f}, that of the base before training: lower "
            "learning_rate, or train longer"
        )
    still = [log["step"] for log in history if log.get("grad_norm") == 0]
    if still:
        found.append(
            f"the gradient was 0 at {len(still):,} of the steps on record (first: {still[0]:,}), "
            "so that nothing was learned there: see whether the adapter's layers carry loss"
        )
    return found


def _kept(logs: Mapping[str, Any]) -> dict[str, float]:
    """What of a log is kept and shown; nothing where it holds no loss."""
    kept = {
        key: value
        for key, value in logs.items()
        if key in _KEPT or (key.startswith("eval_") and key.endswith("loss"))
    }
    return kept if kept.keys() - {"epoch"} else {}


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes or 1} min"


def _name(key: str) -> str:
    return key.replace("_", " ").removesuffix(" loss") if key.endswith("_loss") else key


def _line(values: Mapping[str, Any]) -> str:
    return json.dumps(run.finite(values)) + "\n"
