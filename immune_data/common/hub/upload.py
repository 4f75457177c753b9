"""Upload a folder to the Hub: a folder and a repository in, the commit it is now at out.

All files go in one commit, so that nothing is ever published in part. `create_commit` leaves out
what has not changed and makes no empty commit. Here is what it does not do: it removes files that
are gone, puts the tag on, tries again from the beginning where that may help, and says what is
wrong in a sentence. Works with `huggingface_hub` 1.3x and 2.x.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

import immune_data
from immune_data.common import files
from immune_data.common.errors import ImmuneError
from immune_data.common.hub import MANIFEST, Kind, Report
from immune_data.common.text import counted

if TYPE_CHECKING:
    from huggingface_hub import DatasetInfo, HfApi, ModelInfo

Done = TypeVar("Done")

# Seconds: the pauses before a step is retried, the longest one that the Hub may ask for, and how
# long it may take to accept a connection and may stay silent on one.
PAUSES = (1, 4, 16)
LONGEST_PAUSE = 300
_CONNECT, _SILENCE = 30, 300

_HUBS_OWN = ".gitattributes"


@dataclass(frozen=True)
class Published:
    """Where a folder was published: its commit, and whether this run made it."""

    url: str
    commit: str
    created: bool
    committed: bool
    tagged: bool
    private: bool


@dataclass(frozen=True)
class _Problem:
    """What went wrong, as the beginning of a sentence, and whether a retry may help."""

    sentence: str
    passing: bool
    pause: float = 0


class _TooLong(Exception):
    """The Hub asks us to wait longer than we do."""


def check_names(repo_id: str, tag: str | None) -> None:
    """Refuse, before any work, what the Hub would refuse.

    Raises:
        ImmuneError: it is not a valid name of a repository of an owner, or of a tag.
    """
    import re

    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        repo_id = ""
    if repo_id.count("/") != 1:
        raise ImmuneError(
            "--repo-id should be ORG/NAME, of letters, digits, dots, dashes and underscores"
        )
    if tag is not None and (
        not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]*", tag)
        or ".." in tag
        or tag.endswith((".", ".lock"))
    ):
        raise ImmuneError("--revision should be a tag such as v1.0, without spaces or slashes")


def publish(
    folder: Path,
    repo_id: str,
    *,
    private: bool,
    tag: str | None,
    report: Report,
    kind: Kind = "dataset",
) -> Published:
    """Make the repository contain the files of `folder`, also under `tag` if there is one.

    Raises:
        ImmuneError: the Hub does not let us, or cannot be reached; nothing is published in part.
    """
    from huggingface_hub import HfApi

    _check_token()
    api = HfApi(library_name="immune", library_version=immune_data.__version__)
    repo = _Repo(api, repo_id, kind, folder, report)
    with _patient_client(report):
        info, created = repo.persist(lambda: repo.open(private))
        if private and not info.private:
            raise ImmuneError(
                f"{repo_id} exists and is public, and --private applies only when a repository is "
                "made: change it in its settings on the Hub, or publish without --private; "
                "nothing was published"
            )
        if tag is not None:
            repo.persist(lambda: repo.tagged(tag))
        commit, committed = repo.persist(repo.synchronise)
        tagged = False
        if tag is not None:
            try:
                tagged = repo.persist(lambda: repo.tag(tag, commit))
            except ImmuneError as error:
                raise ImmuneError(
                    f"the files are published, but not under the tag {tag}, which the same "
                    f"command sets when it is run again: {error}"
                ) from None
    url = f"{api.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repo_id}"
    return Published(url, commit, created, committed, tagged, bool(info.private))


def _check_token() -> None:
    from huggingface_hub import get_token
    from huggingface_hub.errors import OIDCError

    try:
        token = get_token()
    except OIDCError:
        raise ImmuneError(
            "HF_OIDC_RESOURCE is set, but yields no token: unset it, or run where its provider "
            "is available"
        ) from None
    if token is None:
        raise ImmuneError(
            "there is no Hugging Face token: log in with `hf auth login` or set HF_TOKEN"
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ImmuneError(
            "the Hugging Face token contains characters that are not allowed in a token: "
            "log in again with `hf auth login` or set HF_TOKEN again"
        )


class _Repo:
    """A repository on the Hub, and the folder whose files it is to have."""

    def __init__(self, api: HfApi, repo_id: str, kind: Kind, folder: Path, report: Report) -> None:
        self._api = api
        self._id = repo_id
        self._kind = kind
        self._folder = folder
        self._report = report
        self._created = False
        self._first_head: str | None = None

    def open(self, private: bool) -> tuple[DatasetInfo | ModelInfo, bool]:
        """The Hub's entry for the repository, created if missing, and whether it was created."""
        from huggingface_hub.errors import RepositoryNotFoundError

        with suppress(RepositoryNotFoundError):
            return self._info(), self._created
        self._created = True
        # Where `private` is not set, the organisation's own default applies.
        self._api.create_repo(
            self._id, repo_type=self._kind, private=private or None, exist_ok=True
        )
        return self._info(), True

    def synchronise(self) -> tuple[str, bool]:
        """The commit at which the repository has our files, and whether it is a new one."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        head = self._info().sha
        assert head is not None, "the Hub names the commit of what it was asked for"
        self._first_head = self._first_head or head
        ours = set(files.names(self._folder))
        removed = self._names(head) - ours
        self._report(f"uploading what is new of {counted(len(ours), 'file')}")
        commit = self._api.create_commit(
            self._id,
            [
                *(CommitOperationAdd(name, self._folder / name) for name in sorted(ours)),
                *(CommitOperationDelete(name) for name in sorted(removed)),
            ],
            commit_message=f"Publish with immune {immune_data.__version__}",
            repo_type=self._kind,
            parent_commit=head,
        )
        if self._names(commit.oid) != ours:  # nothing of ours is new, but another commit was made
            return self.synchronise()
        # After a commit whose response was lost, the next try finds nothing new.
        return commit.oid, commit.oid != self._first_head

    def tagged(self, tag: str) -> bool:
        """Whether the tag exists and is on our files.

        Raises:
            ImmuneError: it is on other files.
        """
        refs = self._api.list_repo_refs(self._id, repo_type=self._kind)
        if tag not in [ref.name for ref in refs.tags]:
            return False
        if self._manifest_at(tag) != (self._folder / MANIFEST).read_bytes():
            raise ImmuneError(
                f"the tag {tag} of {self._id} is on other files: choose another --revision, or "
                "delete the tag on the Hub"
            )
        return True

    def _manifest_at(self, tag: str) -> bytes | None:
        """The manifest at a tag, which names every file by its content; None if it is missing."""
        from huggingface_hub.errors import RemoteEntryNotFoundError

        with TemporaryDirectory() as folder, suppress(RemoteEntryNotFoundError):
            path = self._api.hf_hub_download(
                self._id, MANIFEST, repo_type=self._kind, revision=tag, local_dir=folder
            )
            return Path(path).read_bytes()
        return None

    def tag(self, tag: str, commit: str) -> bool:
        """Put the tag on the commit; True if it was not there before."""
        if self.tagged(tag):
            return False
        self._api.create_tag(self._id, tag=tag, revision=commit, repo_type=self._kind)
        return True

    def persist(self, step: Callable[[], Done]) -> Done:
        """Do a step, and retry it after a pause where that may help.

        Raises:
            ImmuneError: all attempts failed, or a retry cannot help.
        """
        for pause in (*PAUSES, None):
            try:
                return step()
            except ImmuneError:
                raise
            except Exception as error:
                endpoint = self._api.endpoint
                host = urlsplit(endpoint).hostname or endpoint
                problem = _problem(error, self._id, host)
                if problem is None:
                    raise
            if not problem.passing or pause is None or problem.pause > LONGEST_PAUSE:
                raise ImmuneError(f"{problem.sentence}; nothing was published in part")
            seconds = max(pause, problem.pause)
            self._report(f"trying again in {seconds:.0f} s")
            time.sleep(seconds)
        raise AssertionError("the last pause is none")

    def _info(self) -> DatasetInfo | ModelInfo:
        info = self._api.repo_info(self._id, repo_type=self._kind)
        return cast("DatasetInfo | ModelInfo", info)

    def _names(self, revision: str) -> set[str]:
        names = self._api.list_repo_files(self._id, repo_type=self._kind, revision=revision)
        return set(names) - {_HUBS_OWN}


def _problem(error: Exception, repo_id: str, host: str) -> _Problem | None:
    """What an exception of `huggingface_hub` means to the user; None if it is a bug of ours.

    Of the texts of exceptions only the Hub's own is shown: the others may contain signed URLs.
    """
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    # httpx's in 1.x, httpx2's in 2.x
    connection_error = next(
        kind for kind in HfHubHTTPError.__bases__ if kind.__name__ == "HTTPError"
    )
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    for cause in chain:
        if isinstance(cause, _TooLong):
            return _Problem(str(cause), passing=False)
        if isinstance(cause, OfflineModeIsEnabled):
            return _Problem("HF_HUB_OFFLINE is set: unset it to publish", passing=False)
        if isinstance(cause, HfHubHTTPError) and cause.response is not None:
            return _http_problem(cause, repo_id, host)
        if isinstance(cause, connection_error):
            return _Problem(
                f"the connection to {host} fails: check whether it can be reached, then run again",
                passing=True,
            )
    if isinstance(error, json.JSONDecodeError):
        return _Problem(f"{host} does not answer as the Hub does: see HF_ENDPOINT", passing=True)
    if isinstance(error, ValueError) and "README.md" in str(error):
        return _Problem(f"the Hub refuses the card: {_line(str(error))}", passing=False)
    if isinstance(error, FileNotFoundError) and error.filename:
        return _Problem(f"{error.filename} has disappeared: run again", passing=False)
    if isinstance(error, ValueError) and "LFS" in str(error):
        return _Problem(f"the Hub refuses a file: {_line(str(error))}", passing=False)
    if isinstance(error, OSError | RuntimeError):  # of Xet, of the storage
        return _Problem(
            f"the upload to {host} fails: run again, nothing is sent twice", passing=True
        )
    return None


def _http_problem(error: Any, repo_id: str, host: str) -> _Problem:
    """What a response other than 200 means."""
    status = error.response.status_code
    message = _line(error.server_message or "")
    owner = repo_id.partition("/")[0]
    if status == 401:
        sentence = (
            "the Hub does not accept the token: log in again with `hf auth login`, "
            f"or set HF_TOKEN to one that may write to {owner}"
        )
    elif status == 403:
        sentence = f"the token may not write to {repo_id}: use one that has write access to {owner}"
    elif status == 404:
        sentence = f"the Hub does not find {repo_id}: check whether {owner} exists and is yours"
    elif status in (409, 412):
        sentence = f"{repo_id} is being changed by someone else: run again when that is done"
        return _Problem(sentence, passing=True)
    elif status == 429:
        wait = _retry_after(error.response)
        sentence = f"{host} has had too many requests: run again in {max(wait, 60):.0f} s"
        return _Problem(sentence, passing=True, pause=wait)
    elif status >= 500 or status == 408:
        sentence = f"{host} has trouble ({status}): run again later"
        return _Problem(sentence, passing=True, pause=_retry_after(error.response))
    else:
        sentence = f"the Hub refuses ({status})"
    return _Problem(f"{sentence} (it says: {message})" if message else sentence, passing=False)


def _line(text: str) -> str:
    """A text of the Hub's, short enough for a sentence and without our token."""
    from huggingface_hub import get_token

    words = " ".join(text.split())[:300]
    token = get_token()
    return words.replace(token, "<token>") if token else words


def _retry_after(response: Any) -> float:
    """The seconds of a `Retry-After` header, a number or a date; 0 if there is none."""
    value = response.headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0


@contextmanager
def _patient_client(report: Report) -> Iterator[None]:
    """Let `huggingface_hub` wait, but not for ever, and print nothing of its own.

    It retries some requests by itself and then waits as long as the Hub asks; and it logs URLs that
    are as good as passwords.
    """
    from huggingface_hub import logging, set_client_factory
    from huggingface_hub.utils import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )
    from huggingface_hub.utils._http import default_client_factory

    def check_response(response: Any) -> None:
        status = response.status_code
        if status != 429 and status < 500:
            return
        wait = _retry_after(response)
        if wait > LONGEST_PAUSE:
            raise _TooLong(
                f"the Hub asks to wait {wait:.0f} s, which is too long to wait here: run again "
                "after that time"
            )
        report(f"the Hub answers {status}" + (f", wait {wait:.0f} s" if wait else ""))

    def factory() -> Any:
        client = default_client_factory()
        hooks = client.event_hooks
        client.event_hooks = {**hooks, "response": [*hooks.get("response", []), check_response]}
        client.timeout = type(client.timeout)(_SILENCE, connect=_CONNECT)
        return client

    def pass_on(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, UserWarning):
            report(_line(str(message)))

    verbosity, quiet = logging.get_verbosity(), are_progress_bars_disabled()
    logging.set_verbosity(logging.CRITICAL)
    disable_progress_bars()
    set_client_factory(factory)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = pass_on
            yield
    finally:
        set_client_factory(default_client_factory)
        logging.set_verbosity(verbosity)
        if not quiet:
            enable_progress_bars()
