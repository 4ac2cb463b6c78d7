"""The training and sampling commands through the command line: files, resume, pipes, damaged runs."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import tokenizers
import torch
from helpers import one_line

from seqgen import algorithms
from seqgen.cli import learning_curve
from seqgen.data.tokenizer_training import train_tokenizer
from seqgen.training import latest_link, run_folder

CORPUS = "".join(
    f"{a} {b} {c}.\n"
    for a in ("a cat", "two dogs", "the old man", "some birds")
    for b in ("sat", "sleep", "looked", "waited")
    for c in ("on the mat", "by a tree", "in the rain", "near us", "at home")
)
SMALL = ["--set", "generator.embedding=5", "--set", "generator.hidden=7", "--set", "batch_size=8", "--quiet"]
GAME = [
    "--set",
    "discriminator_pretraining_steps=2",
    "--set",
    "rollouts=2",
    "--set",
    "batch_size=4",
    "--set",
    "report_every=3",
    "--quiet",
]


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text(CORPUS)
    return path


@pytest.fixture
def trained(cli, corpus):
    code, _, err = cli("pretrain", "--corpus", corpus, "--steps", 6, *SMALL)
    assert (code, err) == (0, "")
    return corpus.parent / "runs" / "mle-corpus"


def test_the_whole_path(cli, trained):
    assert {p.name for p in trained.iterdir()} >= {
        "config.json",
        "tokenizer.json",
        "model.safetensors",
        "state.pt",
        "metrics.jsonl",
        "samples",
        "tensorboard",
    }
    assert tokenizers.Tokenizer.from_file(str(trained / "tokenizer.json")).id_to_token(2) == "</s>"
    code, _, err = cli("adversarial", "seqgan", "--steps", 5, *GAME)
    assert (code, err) == (0, "")
    game = trained.parent / "seqgan-corpus"
    assert latest_link.latest(trained.parent) == trained.parent / "seqgan-corpus"
    # two steps of the discriminator alone, then five updates of the generator
    assert [row["step"] for row in run_folder.open_run(game).metrics()] == [0, 3, 6, 7]
    config = json.loads((game / "config.json").read_text())
    assert config["settings"]["generator"]["hidden"] == 7  # from the run it started from
    code, out, err = cli("sample", "--n", 13)
    assert code == 0
    assert len(out.splitlines()) == 13
    assert "seqgan-corpus" in err
    code, out, err = cli("evaluate", "--n", 20, "--json")
    assert code == 0
    report = json.loads(out)
    assert report.keys() >= {
        "bleu",
        "self_bleu",
        "sacrebleu",
        "nll_test",
        "nll_gen",
        "distinct",
        "unique",
        "novel",
        "real",
        "protocol",
    }
    assert report["protocol"]["n"] == 20


def test_the_same_command_resumes_and_a_finished_run_says_so(cli, corpus):
    command = ("pretrain", "--corpus", corpus, "--run", "r", "--steps", 6, *SMALL[:-1])
    code, out, err = cli(*command)
    assert (code, out) == (0, "")
    assert "done: 6 steps" in err
    assert "next: seqgen sample --run r  or  seqgen adversarial --init r" in err
    weights = (corpus.parent / "r/model.safetensors").read_bytes()
    code, _, err = cli(*command)
    assert code == 0
    assert "done: 6 steps" in err
    assert (corpus.parent / "r/model.safetensors").read_bytes() == weights
    code, _, err = cli(*command, "--seed", 3)
    assert code == 2
    assert "holds a run with corpus_hash=" in err or "holds a run with seed=0, not 3" in err


def test_training_shows_samples_and_a_learning_curve(cli, corpus):
    command = ("pretrain", "--corpus", corpus, "--run", "r", "--steps", 6, "--set", "report_every=3")
    code, out, err = cli(*command, *SMALL[:-1])
    assert (code, out) == (0, "")
    lines = err.splitlines()
    for step in (0, 3, 6):
        at = next(i for i, line in enumerate(lines) if line.startswith(f"step {step}/6"))
        written = (corpus.parent / f"r/samples/step-{step:07d}.txt").read_text().splitlines()[:3]
        shown = [line.removeprefix("  ") for line in lines[at + 1 : at + 4]]
        assert [each == full or full.startswith(each[:-1]) for each, full in zip(shown, written, strict=True)]
        assert max(map(len, lines[at + 1 : at + 4])) <= 80
    rows = run_folder.open_run(corpus.parent / "r").metrics()
    curve = learning_curve.draw(rows, "valid_nll", columns=80)
    assert len(curve) == 10
    assert lines[-11:-1] == curve
    assert cli(*command[:5], *command[7:], "--steps", 9, *SMALL) == (0, "", "")


@pytest.mark.parametrize("kind", ["rnn", "transformer", "relational-memory"])
def test_a_mixture_with_n_grams(cli, corpus, kind):
    sizes = {"transformer": ["heads=1"], "relational-memory": ["head_size=5", "slots=2"]}.get(kind, [])
    settings = [f"generator.kind={kind}", "generator.embedding=6", *(f"generator.{each}" for each in sizes)]
    settings += ["generator.hidden=6"] if kind != "relational-memory" else []
    given = [part for each in settings for part in ("--set", each)]
    code, _, err = cli(
        "pretrain", "mle", "--corpus", corpus, "--run", "r", "--set", "ngram.order=3", "--steps", 20,
        "--set", "report_every=10", "--set", "batch_size=8", *given, "--quiet",
    )  # fmt: skip
    assert (code, err) == (0, "")
    run = run_folder.open_run(corpus.parent / "r")
    last = run.metrics()[-1]
    assert last["ngram_weight"] > 0.5
    assert last["valid_nll"] < last["network_nll"] - 0.5
    # Seed 1 samples no "." alone, which is read as another token than within a sentence.
    code, out, err = cli("sample", "--run", "r", "--n", 19, "--seed", 1, "--format", "jsonl", "--quiet")
    assert (code, err) == (0, "")
    rows = [json.loads(line) for line in out.splitlines()]
    (corpus.parent / "s.txt").write_text("".join(f"{row['text']}\n" for row in rows))
    code, out, err = cli("score", "--run", "r", "s.txt", "--format", "jsonl", "--quiet")
    assert (code, err) == (0, "")
    scored = [json.loads(line) for line in out.splitlines()]
    # A sentence that was cut off at the greatest length is scored with an end.
    pairs = [(a, b) for a, b in zip(scored, rows, strict=True) if a["tokens"] == b["tokens"]]
    assert len(pairs) > 3
    for mine, given in pairs:
        assert mine["log_prob"] == pytest.approx(given["log_prob"], abs=1e-3)
    for options in (
        ["--temperature", 0.7],
        ["--top-p", 0.9],
        ["--prompt", "a cat"],
        ["--search", "contrastive"],
    ):
        assert cli("sample", "--run", "r", "--n", 5, "--quiet", *options)[0] == 0
    code, out, err = cli("evaluate", "--run", "r", "--n", 20, "--json", "--quiet")
    assert (code, err) == (0, "")
    assert json.loads(out)["nll_test"] < last["network_nll"] - 0.5
    code, _, err = cli("adversarial", "seqgan", "--init", "r", "--steps", 2, *GAME[:-1])
    assert code == 0
    assert "its n-grams are left out: the network alone is trained and rolled out" in err
    code, _, err = cli("pretrain", "mle", "--corpus", corpus, "--run", "f", "--init", "r", "--steps", 2)
    assert code == 0
    assert "its n-grams are left out" in err
    assert cli("report", "--run", "r", "--quiet")[0] == 0


def test_adversarial_goes_on_where_it_stopped(cli, trained):
    assert cli("adversarial", "seqgan", "--steps", 4, *GAME)[0] == 0
    assert cli("adversarial", "seqgan", "--steps", 6, *GAME)[0] == 0  # the latest run is the game itself
    rows = run_folder.open_run(trained.parent / "seqgan-corpus").metrics()
    assert [row["step"] for row in rows] == [0, 3, 6, 8]


def test_sampling_options(cli, trained):
    def lines(*args):
        code, out, err = cli("sample", "--run", trained, "--quiet", *args)
        assert (code, err) == (0, "")
        return out.splitlines()

    assert lines("--n", 5, "--seed", 1) == lines("--n", 5, "--seed", 1)
    assert lines("--n", 5, "--seed", 1) != lines("--n", 5, "--seed", 2)
    assert len(set(lines("--n", 7, "--temperature", 0))) == 1
    assert len(set(lines("--n", 7, "--top-k", 1))) == 1
    assert len(set(lines("--n", 30, "--unique"))) == 30
    assert all(line.startswith("two dogs") for line in lines("--n", 4, "--prompt", "two dogs"))
    assert lines("--n", 0) == []
    rows = [
        json.loads(line)
        for line in lines("--n", 6, "--format", "jsonl", "--min-length", 3, "--max-length", 4)
    ]
    assert {row["tokens"] for row in rows} <= {3, 4}
    assert all(row["log_prob"] < 0 for row in rows)
    assert rows[0].keys() == {"text", "tokens", "log_prob"}
    lines("--n", 3, "--out", "s.txt")
    assert len((trained.parents[1] / "s.txt").read_text().splitlines()) == 3


def test_unique_sampling_ends_when_there_are_no_more(cli, trained):
    code, out, err = cli("sample", "--run", trained, "--n", 5, "--unique", "--temperature", 0)
    assert code == 0
    assert len(out.splitlines()) == 1
    assert "only 1 unique sentences" in err


def test_a_corpus_from_a_pipe_is_kept_with_the_run(cli):
    command = ("pretrain", "--corpus", "-", "--run", "p", "--steps", 4, *SMALL)
    assert cli(*command, stdin=b"\n")[0] == 2  # holds no sentence: no run, and in nobody's way
    assert cli(*command, stdin=CORPUS.encode())[0] == 0
    assert cli("evaluate", "--run", "p", "--n", 4, "--json")[0] == 0
    assert cli(*command, stdin=CORPUS.encode())[0] == 0
    code, _, err = cli(*command, stdin=b"another text\n")
    assert code == 2
    assert "'p' holds a run on another text" in err


def test_contrastive_search_and_the_contrastive_game(cli, trained):
    search = ("sample", "--search", "contrastive", "--n", 7)
    code, out, _ = cli(*search)
    assert (code, len(out.splitlines())) == (0, 7)
    assert cli(*search)[1] == out
    assert (
        cli(*search, "--penalty", 0, "--top-k", 3, "--sampled", 0)[1].splitlines()
        == [cli("sample", "--temperature", 0, "--n", 1)[1].rstrip("\n")] * 7
    )
    assert cli("adversarial", "contrastive", "--steps", 2, *GAME) == (0, "", "")
    assert "contrastive-corpus" in cli("sample", "--n", 2)[2]


def test_the_run_line_says_how_long_the_training_is(cli, trained, corpus):
    loud = [each for each in GAME if each != "--quiet"]
    err = cli("adversarial", "seqgan", "--steps", 1, *loud)[2]
    assert "(seqgan, 3 steps, 2 of the discriminator alone, cpu)" in err
    again = [each for each in SMALL if each != "--quiet"]
    err = cli("pretrain", "--corpus", corpus, "--steps", 1, *again)[2]
    assert "(mle, 6 steps, cpu)" in err  # that it has


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_no_gpu(cli, corpus):
    code, _, err = cli("pretrain", "--corpus", corpus, "--device", "cuda")
    assert code == 2
    assert one_line(err)
    assert "finds no CUDA device here; use --device cpu" in err


def test_damaged_and_foreign_runs(cli, trained):
    def fails(message, *args):
        code, _, err = cli(*(args or ("sample", "--run", trained)))
        assert code == 2
        assert one_line(err), err
        assert message in err

    weights = trained / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[: len(good) // 2])
    fails("is corrupt or no safetensors file")
    weights.write_bytes(good)
    tokenizer = (trained / "tokenizer.json").read_text()
    (trained / "tokenizer.json").write_text("{}")
    fails("tokenizer")
    train_tokenizer(["a b c"], min_count=1).save(trained / "tokenizer.json")
    fails("tokens and the run's model")
    (trained / "tokenizer.json").write_text(tokenizer)
    config = json.loads((trained / "config.json").read_text())
    for name in ("settings", "data", "vocab_size", "length"):
        (trained / "config.json").write_text(json.dumps(config | {name: None}))
        fails(f"is not a seqgen configuration: it has {name}=None")
    config["settings"]["generator"]["hidden"] = 11
    (trained / "config.json").write_text(json.dumps(config))
    fails("does not fit the model")
    config["algorithm"] = "transformer"
    (trained / "config.json").write_text(json.dumps(config))
    fails("no algorithm 'transformer'")


def test_a_corpus_that_changed_or_went(cli, trained, corpus):
    corpus.write_text(CORPUS + "one more line\n")
    code, _, err = cli("evaluate", "--n", 4)
    assert code == 2
    assert "is no longer the one that run" in err
    corpus.unlink()
    code, _, err = cli("evaluate", "--n", 4, "--quiet")
    assert code == 2
    assert one_line(err)
    assert "corpus.txt" in err


def test_a_full_disk_leaves_what_was_there(cli, trained, corpus, monkeypatch):
    before = {path.name: path.read_bytes() for path in trained.iterdir() if path.is_file()}

    def full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = cli("pretrain", "--corpus", corpus, "--steps", 9, *SMALL)
    assert code == 2
    assert one_line(err)
    assert "no space left on the disk" in err
    for name in ("model.safetensors", "state.pt", "tokenizer.json", "config.json"):
        assert (trained / name).read_bytes() == before[name]


def test_a_prompt_that_is_too_long(cli, trained):
    code, _, err = cli("sample", "--prompt", "a cat " * 50)
    assert code == 2
    assert "shorten it, or give a higher --max-length" in err.splitlines()[-1]


def seqgen(*args, **options):
    return subprocess.Popen([sys.executable, "-m", "seqgen.cli.main", *map(str, args)], **options)


@pytest.mark.parametrize("order", [0, 3])
def test_a_killed_process_resumes_bit_identically(cli, corpus, tmp_path, order):
    def command(name):
        every = ["--set", "report_every=5", "--steps", 400, "--set", f"ngram.order={order}"]
        every += ["--set", "patience=100"]
        return ["pretrain", "--corpus", corpus, "--run", name, *every, *SMALL, "--threads", 1]

    assert seqgen(*command("whole"), cwd=tmp_path).wait() == 0
    process = seqgen(*command("cut"), cwd=tmp_path)
    deadline = time.monotonic() + 60
    while not (tmp_path / "cut/samples/step-0000010.txt").exists() and time.monotonic() < deadline:
        os.sched_yield()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run_folder.load_state(run_folder.open_run(tmp_path / "cut"))["progress"]["step"] < 400
    assert seqgen(*command("cut"), cwd=tmp_path).wait() == 0
    whole, cut = (run_folder.load_state(run_folder.open_run(tmp_path / name)) for name in ("whole", "cut"))
    assert all(torch.equal(whole["weights"][key], cut["weights"][key]) for key in whole["weights"])
    for name in ("model.safetensors", "samples/step-0000400.txt"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()


def test_sample_works_while_the_run_is_training(cli, corpus, tmp_path):
    every = ["--set", "report_every=5", "--set", "patience=1000000", "--steps", 1_000_000]
    process = seqgen(
        "pretrain", "--corpus", corpus, "--run", "runs/r", *every, *SMALL, "--threads", 1, cwd=tmp_path
    )
    try:
        for step in (0, 10):  # the first report, and one that comes after samples have been drawn
            while not (tmp_path / f"runs/r/samples/step-{step:07d}.txt").exists():
                assert process.poll() is None
                os.sched_yield()
            while not (tmp_path / "runs/r/model.safetensors").exists():
                os.sched_yield()
            code, out, _ = cli("sample", "--run", "runs/r", "--n", 7)
            assert (code, len(out.splitlines())) == (0, 7)
            assert cli("sample", "--n", 3)[1].count("\n") == 3  # the latest, as no run is named
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_head_closes_the_pipe_without_a_word(trained):
    process = seqgen(
        "sample", "--run", trained, "--n", 10**9, "--quiet", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    for _ in range(3):
        assert process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=60) == 0
    assert process.stderr.read() == b""


def test_help_answers_without_torch():
    code = "import sys; import seqgen.cli.main; sys.exit('torch' in sys.modules or 'datasets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "ACTIVE"}, None)],
)
def test_threads_do_not_spin_for_long_unless_the_user_says_how(cli, monkeypatch, given, expected):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    cli("--version")
    assert os.environ.get("GOMP_SPINCOUNT") == expected


def test_a_path_with_a_space_is_quoted_in_the_next_command(cli, corpus):
    code, _, err = cli("pretrain", "--corpus", corpus, "--run", "my run", "--steps", 2, *SMALL[:-1])
    assert code == 0
    assert "next: seqgen sample --run 'my run'  or  seqgen adversarial --init 'my run'" in err
    assert "as with: seqgen pretrain --run 'no run'," in cli("sample", "--run", "no run")[2]


def test_a_dataset_folder_is_found_again_from_elsewhere(cli, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "datasets")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/train.txt").write_text(CORPUS)
    assert cli("pretrain", "--corpus", "hf:set", "--run", "r", "--steps", 2, *SMALL)[0] == 0
    assert run_folder.open_run(tmp_path / "r").config["data"]["corpus"] == f"hf:{tmp_path}/set"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert cli("evaluate", "--run", tmp_path / "r", "--n", 5, "--quiet")[0] == 0


def test_quiet_silences_the_libraries_too(corpus, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set/train.txt").write_text(CORPUS)
    environment = os.environ | {"HF_DATASETS_CACHE": str(tmp_path / "datasets"), "HF_HUB_OFFLINE": "1"}
    command = ["pretrain", "--corpus", "hf:set", "--run", "r", "--steps", 1, *SMALL]
    process = seqgen(*command, cwd=tmp_path, stderr=subprocess.PIPE, env=environment)
    assert (process.communicate()[1], process.returncode) == (b"", 0)


@pytest.mark.parametrize(
    ("verb", "name"),
    [("pretrain", name) for name in algorithms.PRETRAIN]
    + [("adversarial", name) for name in algorithms.ADVERSARIAL],
)
def test_the_settings_end_with_the_module_that_explains_the_metrics(cli, verb, name):
    """The name of an algorithm may have a dash, which that of a module has not."""
    code, out, _ = cli(verb, name, "--settings")
    assert code == 0
    module = out.splitlines()[-1].removeprefix("metrics: python -m pydoc ")
    assert importlib.util.find_spec(module)
    assert module == algorithms.get(name).cls.__module__
