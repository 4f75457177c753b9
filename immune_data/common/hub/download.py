"""Download a dataset: its address and patterns of files in, a folder of the cache out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from immune_data.common.hub import Address, Report, revisions


def download(address: Address, patterns: Sequence[str], report: Report) -> Path:
    """The folder in `huggingface_hub`'s cache with the dataset's files that match the patterns.

    Raises:
        ImmuneError: there is no such dataset, it is not ours to read, or the Hub is out of reach
            and the cache does not have it.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import are_progress_bars_disabled
    from huggingface_hub.utils import disable_progress_bars as no_bars
    from huggingface_hub.utils import enable_progress_bars as bars

    commit = revisions.commit("dataset", address.repo_id, address.revision, report)
    quiet = are_progress_bars_disabled()
    no_bars()
    try:
        with revisions.readable("dataset", address.repo_id, address.revision):
            return Path(
                snapshot_download(
                    address.repo_id,
                    repo_type="dataset",
                    revision=commit,
                    allow_patterns=list(patterns),
                    library_name="immune",
                )
            )
    finally:
        if not quiet:
            bars()
