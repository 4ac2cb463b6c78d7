"""Recipes of public corpora, and their download from a server that misbehaves in every way it can."""

import hashlib
import pickle
import re
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from helpers import oracle_arrays, oracle_pickle_list

from seqgen.core.errors import UserError
from seqgen.corpora import oracle_weights
from seqgen.corpora.download import CHUNK, fetch, fetch_file, present, sha256_of
from seqgen.corpora.recipes import RECIPES, File, Recipe, get_recipe

CONTENT = bytes(range(256)) * 1_021  # 261,376 bytes: some chunks, and not a multiple of one
CUT = 100_003


@dataclass
class Site:
    """A server on this machine and how it behaves."""

    address: str = ""
    content: bytes = CONTENT
    ranges: bool = True
    cut: int | None = None
    """Close the connection after so many bytes of the content, once."""
    reset: bool = False
    """Close it as a network failure does, not as an end."""
    status: int | None = None
    requested: list[str | None] = field(default_factory=list)
    """The Range header of each request."""
    paths: list[str] = field(default_factory=list)

    def file(self, **changes) -> File:
        file = File(
            f"{self.address}/lines.txt", "lines.txt", len(CONTENT), hashlib.sha256(CONTENT).hexdigest()
        )
        return replace(file, **changes)


class Handler(BaseHTTPRequestHandler):
    def __init__(self, site: Site, *args) -> None:
        self.site = site
        super().__init__(*args)

    def do_GET(self) -> None:
        site, requested = self.site, self.headers.get("Range")
        site.requested.append(requested)
        site.paths.append(self.path)
        if site.status:
            self.send_error(site.status)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", requested)[1]) if requested and site.ranges else 0
        if start and start >= len(site.content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(site.content) - 1}/{len(site.content)}")
        self.send_header("Content-Length", str(len(site.content) - start))
        self.end_headers()
        end, site.cut = site.cut, None
        self.wfile.write(site.content[start:end])
        if site.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    found = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, found))
    found.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# The recipes


def test_every_recipe_is_complete():
    assert len({recipe.name for recipe in RECIPES}) == len(RECIPES)
    for recipe in RECIPES:
        assert recipe.title
        assert recipe.licence
        assert recipe.format
        assert recipe.next_command.startswith("seqgen ")
        assert len({file.name for file in recipe.files}) == len(recipe.files)
        for file in recipe.files:
            assert re.fullmatch(r"https://\S+", file.url)
            assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
            assert file.size > 0


@pytest.mark.parametrize(
    ("recipe", "name", "local"),
    [
        ("coco", "coco_train.txt", "text/coco_train.txt"),
        ("coco", "coco_test.txt", "text/coco_test.txt"),
        ("news", "news_train.txt", "text/news_train.txt"),
        ("news", "news_test.txt", "text/news_test.txt"),
        ("poems", "poems.txt", "text/chinese_poems.txt"),
        *[
            ("texygen-samples", f"{model}.txt", f"texygen/{model}.txt")
            for model in ("leakgan", "maligan", "mle", "rank", "seq", "textgan")
        ],
    ],
)
def test_checksums_and_sizes_are_those_of_the_files(recipe: str, name: str, local: str, data_dir: Path):
    file = {file.name: file for file in get_recipe(recipe).files}[name]
    assert sha256_of(data_dir / local) == file.sha256
    assert (data_dir / local).stat().st_size == file.size


def test_the_nearest_recipe():
    with pytest.raises(UserError, match="no recipe 'cocos'; did you mean 'coco'"):
        get_recipe("cocos")


# Downloads


def test_a_download_and_its_progress(site: Site, tmp_path: Path):
    seen: list[int] = []
    path = fetch_file(site.file(), tmp_path / "new", progress=lambda file, done: seen.append(done))
    assert path.read_bytes() == CONTENT
    assert names(tmp_path / "new") == ["lines.txt"]
    assert (seen[0], seen[-1]) == (0, len(CONTENT))
    assert seen == sorted(seen)


def test_an_interrupted_download_is_resumed(site: Site, tmp_path: Path):
    site.cut = CUT
    with pytest.raises(
        UserError, match=r"ended after 100,003 of 261,376 bytes; the same command again resumes"
    ):
        fetch_file(site.file(), tmp_path)
    assert names(tmp_path) == ["lines.txt.part"]
    assert (tmp_path / "lines.txt.part").stat().st_size == CUT
    seen: list[int] = []
    fetch_file(site.file(), tmp_path, progress=lambda file, done: seen.append(done))
    assert site.requested == [None, f"bytes={CUT}-"]
    assert seen[0] == CUT
    assert (tmp_path / "lines.txt").read_bytes() == CONTENT
    assert names(tmp_path) == ["lines.txt"]


def test_a_connection_that_breaks_keeps_what_came(site: Site, tmp_path: Path):
    site.reset, site.cut = True, CUT
    with pytest.raises(UserError, match="the same command again resumes"):
        fetch_file(site.file(), tmp_path)
    assert (tmp_path / "lines.txt.part").stat().st_size <= CUT
    site.reset = False
    assert fetch_file(site.file(), tmp_path).read_bytes() == CONTENT


def test_a_server_without_ranges_starts_again(site: Site, tmp_path: Path):
    site.cut, site.ranges = CUT, False
    with pytest.raises(UserError, match="ended after"):
        fetch_file(site.file(), tmp_path)
    fetch_file(site.file(), tmp_path)
    assert site.requested == [None, f"bytes={CUT}-"]
    assert (tmp_path / "lines.txt").read_bytes() == CONTENT


def test_a_part_of_another_version_is_fetched_again(site: Site, tmp_path: Path):
    (tmp_path / "lines.txt.part").write_bytes(b"old" * 5_000)
    fetch_file(site.file(), tmp_path)
    assert site.requested == ["bytes=15000-", None]
    assert (tmp_path / "lines.txt").read_bytes() == CONTENT


@pytest.mark.parametrize("length", [len(CONTENT), len(CONTENT) + 7])
def test_a_part_that_is_long_enough_but_wrong_is_fetched_again(length: int, site: Site, tmp_path: Path):
    (tmp_path / "lines.txt.part").write_bytes(b"x" * length)
    fetch_file(site.file(), tmp_path)
    assert site.requested == [None]
    assert (tmp_path / "lines.txt").read_bytes() == CONTENT


def test_a_complete_part_needs_no_server(site: Site, tmp_path: Path):
    (tmp_path / "lines.txt.part").write_bytes(CONTENT)
    assert fetch_file(site.file(), tmp_path).read_bytes() == CONTENT
    assert site.requested == []


def test_a_part_beyond_the_end_of_a_shorter_file(site: Site, tmp_path: Path):
    (tmp_path / "lines.txt.part").write_bytes(CONTENT[:CUT])
    site.content = CONTENT[: CUT // 2]
    with pytest.raises(UserError, match="ended after"):
        fetch_file(site.file(), tmp_path)
    assert site.requested == [f"bytes={CUT}-", None]  # 416, then from the start


@pytest.mark.parametrize(
    "content",
    [CONTENT[:-1] + b"x", CONTENT + b"more" * 100_000],
    ids=["corrupted", "longer"],
)
def test_other_content_is_removed(content: bytes, site: Site, tmp_path: Path):
    site.content = content
    seen: list[int] = []
    with pytest.raises(
        UserError, match=r"is not the file of the recipe: its SHA-256 is [0-9a-f]{64}, expected"
    ):
        fetch_file(site.file(), tmp_path, progress=lambda file, done: seen.append(done))
    assert names(tmp_path) == []
    assert max(seen) <= len(CONTENT) + CHUNK  # no more of it than shows that it is wrong


def test_a_truncated_file_does_not_pass(site: Site, tmp_path: Path):
    site.content = CONTENT[:-1]
    with pytest.raises(UserError, match="ended after 261,375 of 261,376 bytes"):
        fetch_file(site.file(), tmp_path)
    assert names(tmp_path) == ["lines.txt.part"]


def test_what_is_there_stays(site: Site, tmp_path: Path):
    (tmp_path / "lines.txt").write_bytes(CONTENT)
    fetch_file(site.file(), tmp_path)
    assert site.requested == []


def test_a_wrong_file_is_replaced_only_once_the_right_one_is_there(site: Site, tmp_path: Path):
    (tmp_path / "lines.txt").write_bytes(b"mine")
    site.status = 503
    with pytest.raises(UserError, match="answered 503"):
        fetch_file(site.file(), tmp_path)
    assert (tmp_path / "lines.txt").read_bytes() == b"mine"
    site.status = None
    assert fetch_file(site.file(), tmp_path).read_bytes() == CONTENT


def test_not_found(site: Site, tmp_path: Path):
    site.status = 404
    with pytest.raises(UserError, match=r"lines\.txt answered 404 Not Found; check the address"):
        fetch_file(site.file(), tmp_path)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:1/lines.txt", "cannot reach http://127.0.0.1:1/lines.txt: .*refused"),
        ("ftp://127.0.0.1/lines.txt", "is not a web address"),
        ("file:///etc/hostname", "is not a web address"),
        ("lines.txt", "is not a web address"),
        ("http://", "cannot reach http://"),
        ("http://[::1/lines.txt", "cannot reach http://.*Invalid IPv6"),
        ("https://two words/", "cannot reach https://two words/: "),
    ],
)
def test_addresses_that_lead_nowhere(url: str, message: str, site: Site, tmp_path: Path):
    with pytest.raises(UserError, match=message):
        fetch_file(site.file(), tmp_path, url=url)


def test_a_folder_that_cannot_be_created(site: Site, tmp_path: Path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(UserError, match=r"cannot write '.*taken.*'"):
        fetch_file(site.file(), tmp_path / "taken" / "deeper")
    with pytest.raises(UserError, match=r"cannot write '.*taken.*'"):
        fetch_file(site.file(), tmp_path / "taken")


def test_a_full_disk(site: Site, tmp_path: Path):
    (tmp_path / "lines.txt.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match="No space left on device; free space"):
        fetch_file(site.file(), tmp_path)


def test_a_recipe_of_several_files_and_its_mirror(site: Site, tmp_path: Path):
    far = "https://example.invalid/far"
    files = tuple(site.file(url=f"{far}/{part}.bin", name=f"my_{part}") for part in ("one", "two"))
    recipe = Recipe("r", "title", files, "licence", "read", "seqgen")
    assert not present(recipe, tmp_path)
    paths = fetch(recipe, tmp_path, url=f"{site.address}/mirror")
    assert site.paths == ["/mirror/one.bin", "/mirror/two.bin"]
    assert [path.name for path in paths] == names(tmp_path) == ["my_one", "my_two"]
    assert present(recipe, tmp_path)


def test_the_mirror_of_a_single_file_is_its_address_or_a_folder(site: Site, tmp_path: Path):
    recipe = Recipe(
        "r", "title", (site.file(url="https://example.invalid/far.txt"),), "licence", "read", "seqgen"
    )
    fetch(recipe, tmp_path / "a", url=f"{site.address}/any?name=1")
    fetch(recipe, tmp_path / "b", url=f"{site.address}/folder/")
    assert site.paths == ["/any?name=1", "/folder/far.txt"]


# A pickle of weights


def pickled(site: Site, seed: int = 0) -> File:
    """Serve a pickle of weights; return the file of a recipe that asks for those of seed 0."""
    site.content = pickle.dumps(oracle_pickle_list(oracle_arrays(seed)))
    asked = oracle_arrays()
    return File(
        f"{site.address}/target.pkl",
        "oracle.npz",
        oracle_weights.size(asked),
        oracle_weights.digest(asked),
        pickled=True,
    )


def test_a_pickle_of_weights_is_converted_and_verified(site: Site, tmp_path: Path):
    file = pickled(site)
    recipe = Recipe("r", "title", (file,), "licence", "read", "seqgen")
    (path,) = fetch(recipe, tmp_path)
    assert names(tmp_path) == ["oracle.npz"]
    assert oracle_weights.digest(oracle_weights.read_npz(path)) == file.sha256
    assert present(recipe, tmp_path)
    site.status = 503
    assert fetch(recipe, tmp_path) == [path]  # it is there: nothing is asked for
    path.write_bytes(b"damaged")
    assert not present(recipe, tmp_path)


def test_other_weights_and_other_pickles_leave_nothing(site: Site, tmp_path: Path):
    with pytest.raises(UserError, match="does not hold the weights of the recipe"):
        fetch_file(pickled(site, seed=1), tmp_path)
    file = pickled(site)
    site.content = site.content[:-40]
    with pytest.raises(UserError, match="no pickle of NumPy arrays"):
        fetch_file(file, tmp_path)
    site.content = pickle.dumps(print)
    with pytest.raises(UserError, match=r"asks for builtins\.print"):
        fetch_file(file, tmp_path)
    assert names(tmp_path) == []
