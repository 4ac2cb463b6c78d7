"""The Python interface, as the README shows it."""

import subprocess
import sys

import pytest

import seqgen

SMALL = {"generator.embedding": 5, "generator.hidden": 7, "batch_size": 8}
GAN = {"discriminator_pretraining_steps": 1, "rollouts": 2, "batch_size": 4}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api")
    corpus = folder / "captions.txt"
    verbs = ("runs", "sits", "sleeps", "waits", "eats")
    corpus.write_text("".join(f"the {who} {verb} now.\n" for who in ("cat", "dog", "man") for verb in verbs))
    run = seqgen.pretrain(str(corpus), run=folder / "mle", steps=5, values=SMALL, min_count=1)
    return run, seqgen.adversarial(run, "seqgan", run=folder / "gan", steps=3, values=GAN)


def test_the_whole_path_in_python(runs):
    run, gan = runs
    assert (run.config["algorithm"], gan.config["algorithm"]) == ("mle", "seqgan")
    drawn = list(seqgen.sample(gan, 7, temperature=0.8, seed=3, with_log_prob=True))
    assert len(drawn) == 7
    assert all(isinstance(sentence.text, str) and sentence.log_prob < 0 for sentence in drawn)
    results = seqgen.evaluate(gan, n=11)
    assert results["protocol"]["n"] == 11
    assert set(results["bleu"]) == {"2", "3", "4", "5"}
    loaded = seqgen.load(gan.path)
    assert [s.text for s in seqgen.sample(loaded, 7, temperature=0.8, seed=3)] == [s.text for s in drawn]


def test_latents_and_scores_in_python(small_runs):
    run, lines = small_runs["autoencoder"], ["a cat sat on the mat.", "some birds looked in the rain."]
    found = seqgen.encode(run, lines)
    assert (found.shape, str(found.dtype)) == ((2, 7), "float32")
    assert seqgen.decode(run, found) == lines
    assert [pair.reconstruction for pair in seqgen.reconstruct(run, lines)] == lines
    decoded = seqgen.interpolate(run, *lines, steps=3, spherical=True)
    assert [decoded[0], decoded[-1]] == lines
    energies = [each.energy for each in seqgen.score(run, lines)]
    assert energies == [pair.nll for pair in seqgen.reconstruct(run, lines)]
    exact = [each.log_prob for each in seqgen.score(small_runs["mle"], lines)]
    assert all(value < 0 for value in exact)


def test_any_sentences_can_be_scored():
    hyps = ["a cat sat on the mat", "a dog ran home today"]
    results = seqgen.evaluate(hyps=hyps, refs=hyps)
    # each hypothesis is its own reference
    assert results["bleu"]["5"] == pytest.approx(1.0)
    with pytest.raises(TypeError, match="a run, or hyps and refs"):
        seqgen.evaluate(hyps=hyps)


def test_errors_are_exceptions():
    with pytest.raises(seqgen.UserError, match="no run at"):
        seqgen.load("absent")
    with pytest.raises(AttributeError, match="no attribute 'pretran'"):
        _ = seqgen.pretran


def test_every_public_name_resolves_and_importing_is_light():
    for name in seqgen.__all__:
        assert getattr(seqgen, name).__doc__
        assert name in dir(seqgen)
    code = "import sys, seqgen; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_string_is_no_list_of_sentences(small_runs):
    line, run = "a cat sat on the mat.", small_runs["autoencoder"]
    calls = [
        lambda: seqgen.evaluate(hyps=line, refs=[line]),
        lambda: seqgen.evaluate(hyps=[line] * 2, refs=line),
        lambda: seqgen.evaluate(hyps=[line] * 2, refs=[line], train=line),
        lambda: seqgen.score(run, line),
        lambda: seqgen.encode(run, line),
        lambda: seqgen.reconstruct(run, line),
    ]
    for call in calls:
        with pytest.raises(TypeError, match=r"is one string; give a list of sentences, as in \['a cat sat"):
            call()
    with pytest.raises(TypeError, match="hyps holds int 3; give a list of strings"):
        seqgen.evaluate(hyps=[line, 3], refs=[line])


def test_sentences_are_normalised_as_the_commands_do(small_runs):
    clean, typed = "a cat sat on the mat.", "  a cat\tsat on  the mat.\n"
    (one,), (other,) = (list(seqgen.score(small_runs["mle"], [line])) for line in (clean, typed))
    assert one == other
    assert other.text == clean
    (pair,) = seqgen.reconstruct(small_runs["autoencoder"], [typed])
    assert pair.text == pair.reconstruction == clean
    scores = [
        seqgen.evaluate(hyps=[line, "a dog"], refs=["a cat"])["bleu"] for line in ("caf\u00e9", "cafe\u0301")
    ]
    assert scores[0] == scores[1]


def test_a_list_of_strings_is_a_corpus(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    texts = [
        f"the {who}\n{verb} now." for who in ("cat", "dog", "man") for verb in ("runs", "sits", "eats", "is")
    ]
    how = {"values": SMALL, "min_count": 1}
    run = seqgen.pretrain(texts, steps=2, device="cpu", **how)
    assert str(run.path) == "runs/mle-texts"
    assert seqgen.load(run).corpus.train[0].split()[:2] == ["the", "cat"]
    assert seqgen.pretrain(iter(texts), steps=3, **how).metrics()[-1]["step"] == 3
    with pytest.raises(seqgen.UserError, match="holds a run on another text"):
        seqgen.pretrain(texts[1:], steps=3, **how)
    with pytest.raises(TypeError, match="the corpus holds int 3; give a list of strings"):
        seqgen.pretrain([*texts, 3], run="runs/other")
    (tmp_path / "corpus.txt").write_text("".join(f"{line} x\n".replace("\n", " ", 1) for line in texts))
    assert seqgen.pretrain(tmp_path / "corpus.txt", run="runs/file", steps=1, **how).path.name == "file"
    game = {"generator.embedding": 5, "generator.hidden": 7, "batch_size": 4}
    gan = seqgen.adversarial(
        algorithm="scratchgan", corpus=texts, run="runs/gan", steps=1, values=game, min_count=1
    )
    assert gan.config["data"]["corpus"].endswith("corpus.jsonl")
    with pytest.raises(seqgen.UserError, match="learns from the corpus of the run that it starts from"):
        seqgen.adversarial(run, "seqgan", corpus=texts)
