"""Publish a folder: what datasets and models have in common, from the options to the output.

A publication contains a card and a manifest of its own, which lists every other file by its sha256.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from difflib import get_close_matches
from importlib.resources import files as files_of
from pathlib import Path
from typing import TYPE_CHECKING, Any

import immune_data
from immune_data.common import cli, digests, files, jsonfile
from immune_data.common.errors import ImmuneError
from immune_data.common.hub import MANIFEST
from immune_data.common.text import one_line

if TYPE_CHECKING:
    from immune_data.common.hub.upload import Published

CARD = "README.md"

_SCHEMA_VERSION = 1


def add_options(parser: cli.Parser, *, license: str, synthetic: str, to: str) -> None:
    """The options of every command that publishes; the texts are this command's help for them."""
    parser.add_argument("--repo-id", required=True, metavar="ORG/NAME", help="the repository")
    parser.add_argument("--license", required=True, metavar="ID", help=license)
    parser.add_argument("--revision", metavar="TAG", help="tag of this version, such as v1.0")
    parser.add_argument(
        "--private", action="store_true", help="make the repository private, if it is made now"
    )
    parser.add_argument("--synthetic", action="store_true", help=synthetic)
    parser.add_argument(
        "--dry-run", action="store_true", help="write the folder and print the card, no more"
    )
    parser.add_argument("--output", type=cli.folder, metavar="DIR", help=to)
    parser.renamed(to="--output")
    parser.add_argument("--json", action="store_true", help="print what was done as JSON")


def check_options(repo_id: str, tag: str | None, license: str, *, licenses: str) -> None:
    """Refuse, before any work, what the Hub would refuse; `licenses` are examples of them.

    Raises:
        ImmuneError: the Hub knows no such name, tag or licence.
    """
    from immune_data.common.hub import upload

    upload.check_names(repo_id, tag)
    lines = files_of("immune_data.common.hub").joinpath("licences.txt").read_text().splitlines()
    known = [line for line in lines if not line.startswith("#")]
    if license not in known:
        matches = get_close_matches(license.lower(), known, n=3, cutoff=0.75)
        hint = f"did you mean {' or '.join(matches)}" if matches else f"such as {licenses}"
        raise ImmuneError(
            f"--license {one_line(license, 80) or repr(license)} is not an id that the Hub knows: "
            f"{hint}; a licence that is not among them is called other"
        )


def check_synthetic(what: str, synthetic: bool, *, declared: bool) -> None:
    """Check that synthetic data is published as such, and nothing else is.

    Raises:
        ImmuneError: it is synthetic and was not declared so, or the other way round.
    """
    if synthetic and not declared:
        raise ImmuneError(
            f"{what} is synthetic, made up by a program: take real sources, or publish it as what "
            "it is with --synthetic"
        )
    if declared and not synthetic:
        raise ImmuneError(f"{what} is not synthetic: leave --synthetic out")


def write(to: Path, fill: Callable[[Path], None]) -> None:
    """Write the folder to publish as `to`, in place of the publication that may be there.

    `fill` puts everything into the folder that it is given.

    Raises:
        ImmuneError: `to` is not a publication, or cannot be written.
    """
    if to.exists() and not _replaceable(to):
        raise ImmuneError(
            f"{to} is neither empty nor a publication: name another folder with --output"
        )
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImmuneError(f"cannot write to {to.parent}: {error.strerror}") from None
    with files.staging(to.parent) as hidden:
        new = hidden / "made"
        new.mkdir()
        fill(new)
        if to.exists():
            to.rename(hidden / "replaced")
        new.rename(to)


def _replaceable(folder: Path) -> bool:
    """Whether nothing is lost when a folder is replaced: it is empty, or we wrote it."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    if not any(folder.iterdir()):
        return True
    return "publication" in (jsonfile.read(folder / MANIFEST) or {})


def write_manifest(
    folder: Path, repo_id: str, license: str, *, synthetic: bool, **more: Any
) -> None:
    """Write the publication's manifest, which is its last file."""
    content = {
        "publication": _SCHEMA_VERSION,
        "repo_id": repo_id,
        "license": license,
        "version": immune_data.__version__,
        "synthetic": synthetic,
        **more,
        "files": digests.outputs(folder, sorted(files.names(folder))),
    }
    jsonfile.write(folder / MANIFEST, content)


def say(folder: Path, published: Published | None, tag: str | None, *, as_json: bool) -> None:
    """Print what was written and, if it was published, where and under which tag."""
    if as_json:
        names = sorted(files.names(folder))
        content = {
            "folder": str(folder),
            "files": len(names),
            "bytes": sum((folder / name).stat().st_size for name in names),
            "published": asdict(published) if published else None,
            "tag": tag,
        }
        print(json.dumps(content, indent=2))
        return
    if published is None:
        print((folder / CARD).read_text(encoding="utf-8"))
        print(f"wrote {folder}; nothing was uploaded")
        return
    if published.committed:
        print(f"published {published.url} at commit {published.commit}")
    else:
        print(
            f"{published.url} already has these files at commit {published.commit}: no new commit"
        )
    if tag:
        print(f"tag {tag}: {'set' if published.tagged else 'already set'}")
    if published.private:
        print("the repository is private; its settings on the Hub make it public")
