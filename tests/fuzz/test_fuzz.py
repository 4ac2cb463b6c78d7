"""Properties of the readers by hypothesis, every good file of the fuzz entry point, and a short run of it."""

import contextlib
import io
import json
import mmap
import random
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from fuzz import mutations, worker
from fuzz.readers import READERS, build_world
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from seqgen.core.errors import UserError
from seqgen.core.settings import override, read_toml
from seqgen.core.untrusted import parse_nested
from seqgen.corpora.grammar import parse_grammar
from seqgen.data.corpus import open_corpus
from seqgen.data.tokenizer import Tokenizer
from seqgen.data.tokenizer_training import train_tokenizer
from seqgen.image.networks.networks import NetConfig
from seqgen.metrics.embeddings import read_vectors
from seqgen.training import run_folder

ROOT = Path(__file__).resolve().parents[2]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_subnormal=False)
    | st.text(st.characters(), max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=9,
)
quick = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
refused = contextlib.suppress(UserError)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Return the folder of good files."""
    folder = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQGEN_CACHE", str(folder / "cache"))
        with contextlib.redirect_stderr(io.StringIO()):
            build_world(folder)
    return folder


@pytest.mark.parametrize("name", READERS)
def test_a_good_file_is_read_in_every_way(world, name):
    """Else its mutations would be refused for what is wrong with all of them."""
    reader = READERS[name]
    for read in reader.reads:
        read(reader.place(world, reader.seeds(world)[0]))


@pytest.mark.parametrize("name", READERS)
def test_mutations_follow_from_the_seed_and_differ(world, name):
    cases = [
        [READERS[name].case(world, random.Random(f"{seed} {number}"), {}) for number in range(20)]
        for seed in (0, 0, 1)
    ]
    if READERS[name].mutate not in (
        mutations.state_of,
        mutations.parquet_of,
        mutations.npz_of,
    ):  # they hold times
        assert cases[0] == cases[1]
    assert cases[0] != cases[2]
    assert len(set(cases[0])) > 10


def touch(size: int) -> None:
    """Use fresh memory: what earlier tests have freed would serve an ordinary allocation."""
    with mmap.mmap(-1, size) as fresh:
        fresh[:: mmap.PAGESIZE] = b"x" * (size // mmap.PAGESIZE)


def test_what_a_worker_says_of_each_kind_of_case(tmp_path, monkeypatch):
    monkeypatch.setattr(worker, "SECONDS", 1.0)
    monkeypatch.setattr(worker, "MEGABYTES", 50)

    def raise_(error):
        raise error

    def judged(read):
        return worker.judge("text", 7, [read], tmp_path)

    assert not judged(lambda path: path).problem
    outcome = judged(lambda path: raise_(UserError("no such thing")))
    assert (outcome.refused, outcome.problem) == (True, "")
    assert judged(lambda path: raise_(KeyError("a"))).problem == "KeyError: 'a'"
    assert "Traceback" in judged(lambda path: raise_(KeyError("a"))).details
    assert judged(lambda path: raise_(MemoryError())).problem.startswith("memory was asked for")
    assert judged(lambda path: sys.stderr.write("a warning\n") and raise_(UserError("x"))).problem.startswith(
        "not one"
    )
    assert judged(lambda path: [None for _ in iter(int, 1)]).problem == "TimeLimit: more than 1 s"
    if Path("/proc/self/clear_refs").exists():
        assert judged(lambda path: touch(70 << 20)).problem.endswith("MB of memory")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the size of a process is read from /proc")
def test_the_memory_of_a_case_is_limited_beside_what_earlier_ones_left_mapped():
    code = (
        "import mmap\nfrom tests.fuzz import worker\nworker.ADDRESS_SPACE, kept = 500 << 20, []\n"
        "for _ in range(3):\n    worker.limit_memory()\n    kept.append(mmap.mmap(-1, 300 << 20))\n"
        "try:\n    mmap.mmap(-1, 300 << 20)\nexcept OSError:\n    print('refused')\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("refused\n", 0), done.stderr


def test_a_short_run_finds_nothing(tmp_path):
    names = (
        "text,csv,gzip,embeddings,toml,tokenizer,config,image-config,weights,state,metrics,idx,picture,pickle"
    )
    options = ["--minutes", "9", "--cases", "7", "--seed", "5", "--readers", names]
    command = [sys.executable, "-m", "tests.fuzz", *options]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == f"{7 * len(names.split(','))} cases, 0 problems"


@quick
@given(st.binary(max_size=200))
def test_any_bytes_are_a_corpus_or_one_error(tmp_path, content):
    for name in ("c.txt", "c.csv", "c.txt.gz"):
        (tmp_path / name).write_bytes(content)
        with refused:
            sentences = list(open_corpus(str(tmp_path / name)).train)
            assert all(sentence.strip() for sentence in sentences)


@quick
@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=9), min_size=1))
def test_any_text_comes_back_from_a_file_as_it_is_read(tmp_path, lines):
    (tmp_path / "c.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    with refused:
        found = open_corpus(str(tmp_path / "c.txt"))
        read = {*found.train, *found.valid, *found.test}
        tokenizer = train_tokenizer(sorted(read), "byte")
        assert all(tokenizer.decode(tokenizer.encode(sentence)) == sentence for sentence in read)


@quick
@given(JSON)
def test_any_json_is_a_configuration_or_one_error(tmp_path, value):
    for values in (
        value,
        {"format": run_folder.FORMAT, "verb": "image", "algorithm": "vae", "settings": value},
    ):
        (tmp_path / run_folder.CONFIG).write_text(json.dumps(values), encoding="utf-8")
        with refused:
            config = run_folder.open_run(tmp_path).config
            assert isinstance(config["algorithm"], str)
            assert isinstance(config.get("settings", {}), dict)


@quick
@given(JSON)
def test_any_json_is_settings_or_one_error(value):
    with refused:
        override(NetConfig(), value if isinstance(value, dict) else {"hidden": value})


@quick
@given(st.lists(JSON | st.binary(max_size=9), max_size=5))
def test_any_log_gives_reports_with_a_step(tmp_path, lines):
    written = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines]
    (tmp_path / run_folder.METRICS).write_bytes(b"\n".join(written))
    for row in run_folder.Run(tmp_path, {}).metrics():
        assert row["step"] >= 0
        assert all(isinstance(value, int | float) for value in row.values())


@quick
@given(JSON)
def test_any_vocabulary_is_a_tokenizer_or_one_error(value):
    good = json.loads(train_tokenizer(["a cat"], "word").to_json())
    for parsed in (value, good | {"decoder": value}, good | {"model": value}, good | {"added_tokens": value}):
        with contextlib.suppress(ValueError):
            assert Tokenizer.from_json(json.dumps(parsed)).vocab_size == len(good["model"]["vocab"])


@quick
@given(st.text(st.sampled_from("abAB '|->[]()%.0123456789n\n=_é"), max_size=60))
def test_any_text_is_a_grammar_or_one_error(text):
    with refused:
        grammar = parse_grammar("g", text)
        assert all(grammar.valid(sentence) for sentence in grammar.sample(3, seed=0))


@quick
@given(st.text(max_size=60))
def test_any_text_is_toml_or_one_error(tmp_path, text):
    (tmp_path / "s.toml").write_bytes(text.encode("utf-8", "surrogatepass"))
    with refused:
        assert isinstance(read_toml(tmp_path / "s.toml"), dict)
    with contextlib.suppress(ValueError):
        parse_nested(tomllib.loads, text.encode("utf-8", "surrogatepass"))


@quick
@given(st.binary(max_size=60))
def test_any_bytes_are_word_vectors_or_one_error(tmp_path, content):
    (tmp_path / "v.txt").write_bytes(content)
    with refused:
        words, vectors = read_vectors(tmp_path / "v.txt")
        assert len(vectors) >= len(words) > 0
