"""Downloads that resume, and whose checksum is verified."""

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO

from seqgen.core.errors import UserError
from seqgen.corpora import oracle_weights
from seqgen.corpora.recipes import File, Recipe

CHUNK = 1 << 16
TIMEOUT = 30.0
"""Seconds without a response or a byte after which a download fails."""

Progress = Callable[[File, int], None]
"""Called with the file and the number of its bytes that are on disk."""


def fetch(
    recipe: Recipe, folder: Path, *, url: str | None = None, progress: Progress | None = None
) -> list[Path]:
    """Download the files of a recipe that are not in `folder` yet, and return the paths of all.

    `url` is a mirror: the address of the file, or that of a folder if it ends in `/` or the recipe has
    several files; file names are then those in the addresses of the recipe. Raise UserError for any failure;
    the bytes received so far stay in NAME.part, from which the next call resumes.
    """
    return [
        fetch_file(file, folder, url=_address(recipe, file, url), progress=progress) for file in recipe.files
    ]


def fetch_file(file: File, folder: Path, *, url: str | None = None, progress: Progress | None = None) -> Path:
    """Download a file, resuming NAME.part; it is renamed to NAME once its SHA-256 is verified.

    A pickle of an oracle's weights is converted instead of renamed, and cannot be resumed: its own size is
    not known.
    """
    address = url or file.url
    if not address.lower().startswith(("http://", "https://")):
        raise UserError(f"'{address}' is not a web address; give one that begins with https:// or http://")
    target = folder / file.name
    report = progress or (lambda file, done: None)
    try:
        if target.exists() and _is_right(file, target):
            report(file, file.size)
            return target
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / f"{file.name}.part"
        if file.pickled:
            return _convert(file, address, part, target, report)
        resumed = part.exists() and part.stat().st_size > 0
        _complete(file, address, part, report)
        if (
            resumed and sha256_of(part) != file.sha256
        ):  # the first part may be of another version: start again
            part.unlink()
            _complete(file, address, part, report)
        _accept(file, address, part, target)
    except OSError as error:
        place = error.filename or folder
        raise UserError(
            f"cannot write '{place}': {error.strerror or error}; free space or name another --out"
        ) from error
    return target


def present(recipe: Recipe, folder: Path) -> bool:
    """Return True if every file of the recipe is in the folder and has the right checksum."""
    return all(
        (folder / file.name).is_file() and _is_right(file, folder / file.name) for file in recipe.files
    )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _is_right(file: File, path: Path) -> bool:
    """Whether a file on disk is the one of the recipe; a damaged one of weights is not."""
    if not file.pickled:
        return sha256_of(path) == file.sha256
    try:
        return oracle_weights.digest(oracle_weights.read_npz(path)) == file.sha256
    except UserError:
        return False


def _convert(file: File, address: str, part: Path, target: Path, report: Progress) -> Path:
    """Download a pickle of weights, read its arrays, verify them, and keep them as `.npz`."""
    try:
        with _open(address, 0) as answer, part.open("wb") as sink:
            # A pickle of these arrays is a few kilobytes longer than they are: twice that is another file.
            _copy(replace(file, size=2 * file.size), answer, sink, 0, report)
        weights = oracle_weights.from_pickle(part)
        found = oracle_weights.digest(weights)
        if found != file.sha256:
            raise UserError(
                f"{address} does not hold the weights of the recipe: their SHA-256 is {found}, expected "
                f"{file.sha256}; try another address with --url"
            )
        oracle_weights.write_npz(target, weights)
    finally:
        part.unlink(missing_ok=True)
    report(file, file.size)
    return target


def _address(recipe: Recipe, file: File, mirror: str | None) -> str:
    if mirror is None:
        return file.url
    if len(recipe.files) == 1 and not mirror.endswith("/"):
        return mirror
    return mirror.rstrip("/") + "/" + file.url.rsplit("/", 1)[-1]


def _complete(file: File, address: str, part: Path, report: Progress) -> None:
    """Complete NAME.part, resuming if the server supports it, else from the start."""
    have = part.stat().st_size if part.exists() else 0
    if have >= file.size:  # complete; the checksum shows whether it is right
        report(file, file.size)
        return
    with _open(address, have) as answer:
        if answer.status == http.client.PARTIAL_CONTENT and _continues(answer, have):
            done, mode = have, "ab"
        elif answer.status == http.client.PARTIAL_CONTENT:
            raise UserError(
                f"{address} answered with another part than requested; delete '{part}' and try again"
            )
        else:
            done, mode = 0, "wb"
        with part.open(mode) as sink:
            done = _copy(file, answer, sink, done, report)
    if done < file.size:
        raise UserError(
            f"{address} ended after {done:,} of {file.size:,} bytes; the same command again resumes"
        )


def _copy(file: File, answer: http.client.HTTPResponse, sink: IO[bytes], done: int, report: Progress) -> int:
    """Copy the response to a file, at most a chunk beyond its size; return the number of bytes on disk."""
    report(file, done)
    while done <= file.size:
        try:
            chunk = answer.read(CHUNK)
        except (http.client.HTTPException, OSError):  # interrupted: the bytes received so far are kept
            break
        if not chunk:
            break
        sink.write(chunk)
        done += len(chunk)
        report(file, done)
    sink.flush()
    os.fsync(sink.fileno())
    return done


def _accept(file: File, address: str, part: Path, target: Path) -> None:
    found = sha256_of(part)
    if found != file.sha256:
        part.unlink()
        raise UserError(
            f"{address} is not the file of the recipe: its SHA-256 is {found}, expected {file.sha256}; "
            "it was removed. Try again, or another address with --url"
        )
    part.replace(target)


def _open(address: str, have: int) -> http.client.HTTPResponse:
    """Request the bytes from position `have` on; raise UserError if there is no response."""
    headers = {"User-Agent": "seqgen", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        return urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return _open(address, 0)
        raise UserError(
            f"{address} answered {error.code} {error.reason}; check the address or name another with --url"
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = getattr(error, "reason", error)
        reason = getattr(cause, "strerror", None) or cause
        raise UserError(
            f"cannot reach {address}: {reason}; check the network, or try another address with --url"
        ) from error


def _continues(answer: http.client.HTTPResponse, have: int) -> bool:
    """Return True if a partial response begins at `have` (`Content-Range: bytes 100-199/200`)."""
    return answer.headers.get("Content-Range", "").startswith(f"bytes {have}-")
