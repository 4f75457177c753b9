"""An answer that is written to time it: the answer and its beginning in, the token to come out.

Of a model of random weights, or of two ways to write that should write the same.
"""

from __future__ import annotations

from collections.abc import Sequence

from immune_data.contract.tokens import text_ids, token_bytes
from immune_data.contract.vocabulary import END


class Replay:
    """The answer, token by token.

    Where what is written is no beginning of it, as where a grammar does not let it through, the
    answer goes on with as many tokens as it would have had.
    """

    def __init__(self, answer: str) -> None:
        self._answer = answer.encode()
        self._ids = [*text_ids(answer), END]

    def after(self, ids: Sequence[int]) -> int:
        """The token that follows the first ones of the answer, which may be cut otherwise."""
        place = len(ids)
        if self._ids[:place] != list(ids):
            written = b"".join(map(token_bytes, ids))
            if self._answer.startswith(written):
                rest = self._answer[len(written) :].decode(errors="replace")
                return text_ids(rest)[0] if rest else END
        return self._ids[place] if place < len(self._ids) else END
