"""The commit at which a repository of the Hub is read: its name and a revision in, a commit out.

Libraries silently use their cache where the Hub cannot be reached. Here that is reported, with the
commit, and everything else is then read at that commit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from immune_data.common.errors import ImmuneError
from immune_data.common.hub import Kind, Report

_PATIENCE = 20  # seconds for the Hub to answer


class _OutOfReach(ImmuneError):
    """The Hub cannot be reached, or has trouble of its own."""


def commit(kind: Kind, repo_id: str, revision: str | None, report: Report) -> str:
    """The commit of a revision, from the Hub or else from the cache, which is reported.

    Raises:
        ImmuneError: there is no such repository or revision, it is not ours to read, or the Hub is
            out of reach and the cache does not have it.
    """
    from huggingface_hub import HfApi

    if revision and re.fullmatch("[0-9a-f]{40}", revision):
        return revision
    name = repo_id + (f"@{revision}" if revision else "")
    try:
        with readable(kind, repo_id, revision):
            info = HfApi(library_name="immune").repo_info(
                repo_id, repo_type=kind, revision=revision, timeout=_PATIENCE
            )
        _remember(kind, repo_id, revision or "main", str(info.sha))
        return str(info.sha)
    except _OutOfReach as error:
        cached = _cached(kind, repo_id, revision or "main")
        if cached is None:
            raise ImmuneError(
                f"{error} and {name} is not in the cache: check the network and HF_ENDPOINT, and "
                "run again"
            ) from None
        report(f"{error}: the {kind} {name} is taken from the cache, at commit {cached}")
        return cached


def _folder(kind: Kind, repo_id: str) -> Path:
    """Where the cache has the repository."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repo_id, repo_type=kind)


def _remember(kind: Kind, repo_id: str, revision: str, commit: str) -> None:
    """Let the cache know the commit of a revision, as downloads by the revision's name do."""
    from huggingface_hub.file_download import _cache_commit_hash_for_specific_revision as note

    with suppress(OSError):  # it is read-only
        note(str(_folder(kind, repo_id)), revision, commit)


def _cached(kind: Kind, repo_id: str, revision: str) -> str | None:
    """The commit at which the cache has the revision."""
    folder = _folder(kind, repo_id)
    try:
        commit = (folder / "refs" / revision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return commit if (folder / "snapshots" / commit).is_dir() else None


@contextmanager
def readable(kind: Kind, repo_id: str, revision: str | None) -> Iterator[None]:
    """Turn what `huggingface_hub` raises where it reads a repository into one sentence."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError:
        raise ImmuneError(
            f"the {kind} {repo_id} is gated: ask for access on its page, then log in with "
            "`hf auth login`"
        ) from None
    except RevisionNotFoundError:
        raise ImmuneError(
            f"the {kind} {repo_id} has no revision {revision}: name a branch, a tag or a commit"
        ) from None
    except RepositoryNotFoundError:
        raise ImmuneError(
            f"there is no {kind} {repo_id}, or it is private: check the name, or log in with "
            "`hf auth login`"
        ) from None
    except OfflineModeIsEnabled:
        raise _OutOfReach("HF_HUB_OFFLINE is set") from None
    except LocalEntryNotFoundError:
        raise ImmuneError(
            f"the Hub cannot be reached and {repo_id} is not complete in the cache: check the "
            "network and HF_ENDPOINT, and run again"
        ) from None
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", 0)
        if status >= 500:
            raise _OutOfReach(f"the Hub answers {status}") from None
        raise ImmuneError(
            f"the Hub answers {status or 'with an error'} for {repo_id}: check whether your login "
            "may read it, or run again later"
        ) from None
    except Exception as error:
        if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
            raise ImmuneError(
                f"{repo_id} cannot be downloaded: {error.strerror or error}"
            ) from None
        if not isinstance(error, OSError) and "http" not in type(error).__module__:
            raise
        raise _OutOfReach("the Hub cannot be reached") from None
