"""What a run of `immune_train.sft` imports and reads first, imported and read, for `warm` to fork.

Nothing is computed here: what starts threads could not be forked.
"""

from immune_train import backends

backends.quiet()

import matplotlib.pyplot  # noqa: E402, F401
import peft  # noqa: E402, F401
import torch.distributed.launcher  # noqa: E402
import torch.distributed.run  # noqa: E402, F401
import training  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402, F401
from transformers.models.qwen2 import modeling_qwen2  # noqa: E402, F401
from trl import SFTTrainer  # noqa: E402, F401

from immune_train import qwen_tokenizer  # noqa: E402
from immune_train.data import labels  # noqa: E402
from immune_train.sft import __main__  # noqa: E402, F401

training.keep_memory()
_tokenizer = qwen_tokenizer.tokenizer()
_renderer = labels.Renderer(_tokenizer)
backends.tokenizer = lambda config: _tokenizer
labels.Renderer = lambda tokenizer: _renderer  # type: ignore[misc, assignment]
