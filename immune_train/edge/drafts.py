"""What an answer will go on with if it copies: a prompt and the answer's beginning in, tokens out.

Answers repeat what their evidence says. Where the last tokens of an answer stand in its prompt, it
may go on as the prompt does there: that is a draft, which the model then reads in one batch with
the last token, and of which it keeps as much as it would have written.
"""

from __future__ import annotations

from collections.abc import Sequence

from immune_data.contract.vocabulary import FIRST_ADDED

# Of the real answers (GPT-4o's, of 40 incidents) 0.81 of the summaries' drafts of this kind come
# true, 0.56 of the causes' and 0.34 of the risks'; after fewer tokens, or when longer, fewer do.
# One token and three drafted ones are four rows, of which llama.cpp's kernels make one block.
_ALIKE, _LONGEST = 4, 3
_FAR = 32  # tokens by which places are told apart


class Drafts:
    """A prompt's drafts of an answer."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self._prompt = list(prompt)
        self._places: dict[tuple[int, ...], list[int]] = {}
        for at in range(_ALIKE, len(self._prompt)):
            self._places.setdefault(tuple(self._prompt[at - _ALIKE : at]), []).append(at)

    def after(self, answer: Sequence[int]) -> list[int]:
        """The tokens that may follow: what follows, in the prompt, the most of the answer's end."""
        places = self._places.get(tuple(answer[-_ALIKE:]), [])
        if not places:
            return []
        best = max(places, key=lambda at: self._alike(at, answer))
        draft = self._prompt[best : best + _LONGEST]
        # An answer is text, and so is its draft.
        return draft[: next((i for i, one in enumerate(draft) if one >= FIRST_ADDED), None)]

    def _alike(self, at: int, answer: Sequence[int]) -> int:
        """How many tokens before a place of the prompt are those at the end of the answer."""
        end = len(answer)
        most = min(at, end, _FAR)
        pairs = ((self._prompt[at - i], answer[end - i]) for i in range(1, most + 1))
        return next((i for i, (one, other) in enumerate(pairs) if one != other), most)
