"""This module fetches the photos of the committed list by git, for people who do not have the folder. Only listed files are
fetched."""

import subprocess
from collections import defaultdict
from pathlib import Path

from adaqual_training.corpus.candidates import Candidate
from adaqual_training.corpus.listing import Listed
from adaqual_training.corpus.reserved import SAME, distance, refuse_reserved


def _git(folder: Path, *arguments: str, given: bytes = b"") -> None:
    """Run git in ``folder``; ValueError says which command failed and what git wrote."""
    done = subprocess.run(["git", "-C", str(folder), *arguments], input=given, capture_output=True)
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(
            f"--git: 'git {' '.join(arguments)}' failed in {folder}: {said[-1] if said else 'no message'}; "
            "check the network and the address, or use --folder"
        )


def fetch_files(address: str, commit: str, paths: list[str], target: Path) -> None:
    """Check out ``paths`` of one commit of the repository at ``address`` into ``target``.

    The history and all other files stay where they are (depth 1, blobs only on demand). A ``target`` that has every file is left
    as it is. ValueError when git fails.
    """
    if all((target / path).is_file() for path in paths):
        return
    target.mkdir(parents=True, exist_ok=True)
    _git(target, "init", "--quiet")
    _git(target, "fetch", "--quiet", "--depth=1", "--filter=blob:none", address, commit)
    # A partial clone asks the remote "origin" for missing files when they are checked out.
    _git(target, "config", "remote.origin.url", address)
    _git(target, "config", "remote.origin.promisor", "true")
    _git(target, "config", "remote.origin.partialclonefilter", "blob:none")
    named = b"\0".join(path.encode() for path in paths)
    checkout = ("--literal-pathspecs", "checkout", "--quiet", commit, "--pathspec-from-file=-", "--pathspec-file-nul")
    _git(target, *checkout, given=named)


def of_repositories(listed: list[Listed], base: str, cache: Path) -> list[Candidate]:
    """Return the listed photos that come from repositories (their source is owner/name), fetched below ``cache``.

    ``base``: the part of a repository's address before owner/name.git, for example a host or a folder of bare repositories.
    """
    wanted: dict[tuple[str, str], list[Listed]] = defaultdict(list)
    for photo in listed:
        if photo.by_git:
            refuse_reserved(f"{photo.source}/{photo.path}", "--git")
            wanted[photo.source, photo.commit].append(photo)
    candidates = []
    for (source, commit), photos in wanted.items():
        root = cache / "git" / source.replace("/", "+") / commit[:12]
        fetch_files(f"{base.rstrip('/')}/{source}.git", commit, [photo.path for photo in photos], root)
        candidates += [
            Candidate(source, root / photo.path, root, photo.path, commit, photo.licence, chosen=True, size=photo.size)
            for photo in photos
        ]
    return candidates


def differing(listed: list[Listed], pictures: list[dict]) -> list[str]:
    """Return source and path of the manifest's pictures that do not look like the listed photo: their hashes differ in more than
    SAME bits.

    Pixels cannot be compared, because the listed ones may have been reduced by another program, or stored with loss.
    """
    expected = {(photo.source, photo.path): photo.bits for photo in listed if photo.by_git}
    return [
        f"{entry['source']}/{entry['path']}"
        for entry in pictures
        if (entry["source"], entry["path"]) in expected
        and distance(expected[entry["source"], entry["path"]], int(entry["hash"], 16)) > SAME
    ]
