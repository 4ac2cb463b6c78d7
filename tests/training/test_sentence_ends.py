"""Where all sentences have one length, or none is empty: found, recorded, and kept to by everything."""

import json
from itertools import product
from pathlib import Path

import pytest
import torch
from helpers import GENERATOR_KINDS, GENERATORS, write_lines

import seqgen
from seqgen.core.errors import UserError
from seqgen.data.token_ids import encode_lines
from seqgen.data.tokenizer import BOS, EOS, PAD, UNK
from seqgen.training import load, run_folder, sentence_ends
from seqgen.training.data_config import DataConfig, open_with_tokenizer, with_conditions
from seqgen.training.sentence_ends import SentenceEnds
from seqgen.training.setup import pretrain_job

LETTERS = "abcde"
LINES = ["".join(letters) for letters in product(LETTERS, repeat=3)]
"""All 125 sentences of three letters."""
SMALL = {"batch_size": 11, "generator.dropout": 0.0}


def values(kind: str) -> dict:
    return SMALL | {"generator.kind": kind} | {f"generator.{k}": v for k, v in GENERATORS[kind].items()}


def found(path: str, **options) -> SentenceEnds:
    data = DataConfig(path, **options)
    corpus, tokenizer = open_with_tokenizer(data, None, seed=0)
    tokenizer = with_conditions(tokenizer, data, corpus)
    train, valid = (encode_lines(lines, tokenizer, max_length=64) for lines in (corpus.train, corpus.valid))
    return sentence_ends.find(corpus, tokenizer, train, valid, limit=64)


@pytest.fixture(scope="module", params=GENERATOR_KINDS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("one-length")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQGEN_CACHE", str(folder / "cache"))
        path = write_lines(folder / "lines.txt", LINES)
        yield seqgen.pretrain(path, run=folder / "run", values=values(request.param), steps=3, device="cpu")


def test_one_length_is_found_where_it_is_no_coincidence(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "lines.txt", LINES)
    assert found(path) == SentenceEnds(3)
    assert found(path, tokenizer="bpe") == SentenceEnds(never_empty=True)  # what is merged is chance
    assert found(write_lines(tmp_path / "few.txt", LINES[:50])) == SentenceEnds(never_empty=True)
    assert found(write_lines(tmp_path / "other.txt", [*LINES, "abcd"])) == SentenceEnds(never_empty=True)
    longer = write_lines(tmp_path / "test.txt", ["abcd", "bcde"])
    assert found(path, test=longer) == SentenceEnds(never_empty=True)
    assert found(path, test=write_lines(tmp_path / "same.txt", ["abc", "bcd"])) == SentenceEnds(3)
    words = [" ".join(line) + " x y" for line in LINES]
    assert found(write_lines(tmp_path / "words.txt", words), tokenizer="word") == SentenceEnds(5)
    table = tmp_path / "table.csv"
    table.write_text("label;text\n" + "".join(f"{line[0]};{line}\n" for line in LINES))
    assert found(str(table), column="text", label_column="label") == SentenceEnds(3)
    assert found(str(table), column="text", source_column="label") == SentenceEnds()


def test_sentences_that_are_cut_have_no_length_in_common(tmp_path: Path) -> None:
    corpus, tokenizer = open_with_tokenizer(DataConfig(write_lines(tmp_path / "a.txt", LINES)), None, seed=0)
    cut = encode_lines(corpus.train, tokenizer, max_length=3)  # their ends are cut off, they may be longer
    assert sentence_ends.find(corpus, tokenizer, cut, cut, limit=3).fixed_length is None


def test_the_likelihood_is_normalised_over_the_sentences_that_can_be_drawn(run) -> None:
    assert (run.config["fixed_length"], run.config["length"]) == (3, 3)
    trained = load.load(run, "cpu")
    everything = torch.tensor(list(product((UNK, *range(4, trained.tokenizer.vocab_size)), repeat=3)))
    assert len(everything) == 6**3
    log_p = trained.algorithm.log_likelihood(everything)
    assert float(log_p.exp().sum()) == pytest.approx(1.0, abs=1e-5)
    [scored] = seqgen.score(trained, ["abc"])
    abc = torch.tensor([trained.tokenizer.encode("abc")])
    assert scored.log_prob == pytest.approx(float(trained.algorithm.log_likelihood(abc)), abs=1e-5)
    drawn = trained.algorithm.sample(997, rng=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        drawn.log_probs.double().sum(dim=1), trained.algorithm.log_likelihood(drawn.tokens), rtol=0, atol=1e-4
    )


@pytest.mark.parametrize(
    "how",
    [
        {"temperature": 0.3},
        {"temperature": 3.0},
        {"temperature": 0.0},
        {"top_p": 0.6},
        {"prompt": "ab"},
        {"max_length": 9},
        {"min_length": 2},
    ],
)
def test_every_sample_has_the_length(run, how) -> None:
    lengths = {len(sentence.text) for sentence in seqgen.sample(run, 97, **how)}
    assert lengths == {3}


def test_evaluation_and_scores_count_no_end(run) -> None:
    results = seqgen.evaluate(run, n=31)
    test = len(load.load(run, "cpu").corpus.test)
    assert results["likelihood"]["test"]["tokens"] == 3 * test
    assert [each.tokens for each in seqgen.score(run, ["abc"])] == [3]
    with pytest.raises(UserError, match="the sentence 'ab' has 2 tokens, and every sentence of"):
        list(seqgen.score(run, ["abc", "ab"]))


def test_the_n_grams_of_a_run_keep_to_it(tmp_path: Path) -> None:
    mixed = values("rnn") | {"ngram.order": 3}
    run = seqgen.pretrain(LINES, run=tmp_path / "run", values=mixed, steps=2, device="cpu")
    mixture = load.load(run, "cpu").algorithm.mixture
    assert not mixture.unigrams[[PAD, BOS, EOS]].any()
    assert float(mixture.unigrams.sum()) == pytest.approx(1, abs=1e-6)


def test_adversarial_training_keeps_to_it(run, tmp_path: Path) -> None:
    game = {"discriminator_pretraining_steps": 1, "rollouts": 2, "batch_size": 4}
    gan = seqgen.adversarial(run, "seqgan", run=tmp_path / "gan", steps=2, values=game, device="cpu")
    assert gan.config["fixed_length"] == 3
    assert (load.load(gan, "cpu").algorithm.sample(53).tokens >= UNK).all()


def test_with_labels_the_length_is_that_of_what_follows(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text("label;text\n" + "".join(f"l{line[0]};{line}\n" for line in LINES))
    given = {"column": "text", "label_column": "label"}
    run = seqgen.pretrain(table, run=tmp_path / "run", values=values("rnn"), steps=2, device="cpu", **given)
    assert (run.config["fixed_length"], run.config["length"]) == (3, 4)
    for how in ({}, {"max_length": 7}):
        drawn = list(seqgen.sample(run, 31, labels={"lb": 1.0}, **how))
        assert {len(each.text) for each in drawn} == {3}


def test_it_is_said_and_a_run_that_has_begun_keeps_to_what_it_recorded(tmp_path: Path) -> None:
    data = DataConfig(write_lines(tmp_path / "lines.txt", LINES))

    def job(steps: int):
        how = {"path": tmp_path / "run", "values": values("rnn"), "device_name": "cpu"}
        return pretrain_job(data, steps=steps, **how)

    assert "every sentence has 3 tokens, so every sample has; its end is not counted" in job(2).notes[0]
    job(2).train()
    before = (tmp_path / "run" / run_folder.CONFIG).read_text()
    job(2).train()
    assert (tmp_path / "run" / run_folder.CONFIG).read_text() == before
    # A run from before lengths were looked for goes on as it began: its model has learned ends.
    stored = json.loads(before)
    stored |= {"fixed_length": None, "length": 4}
    del stored["never_empty"]
    (tmp_path / "run" / run_folder.CONFIG).write_text(json.dumps(stored))
    old = job(4)
    assert (old.run.config["fixed_length"], old.run.config["length"]) == (None, 4)
    assert not old.run.config["never_empty"]
    assert old.algorithm.generator.head.never_ends_at is None
    assert (next(iter(old.validation)).tokens == EOS).any()


def test_no_sample_is_empty_unless_a_sentence_is(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "lines.txt", [*LINES, "abcd", "a"])
    run = seqgen.pretrain(path, run=tmp_path / "run", values=values("rnn"), steps=2, device="cpu")
    assert run.config["never_empty"]
    trained = load.load(run, "cpu")
    generator = trained.algorithm.generator
    with torch.no_grad():
        generator.head.offset[EOS] = 5.0  # a generator that ends at once, nearly always
    assert all(sentence.text for sentence in seqgen.sample(trained, 997))
    drawn = trained.algorithm.sample(997)
    assert not (drawn.tokens[:, 0] == EOS).any()
    scored = trained.algorithm.log_likelihood(drawn.tokens)
    torch.testing.assert_close(drawn.log_probs.double().sum(dim=1), scored, rtol=0, atol=1e-4)
    one_token = torch.tensor([[token, EOS] for token in range(4, trained.tokenizer.vocab_size)])
    generator.head.never_ends_at = None
    assert (trained.algorithm.sample(997).tokens[:, 0] == EOS).float().mean() > 0.9
    unlike = trained.algorithm.log_likelihood(one_token)
    generator.head.never_ends_at = 0
    with torch.no_grad():
        logits, _ = generator(torch.tensor([[1]]), generator.initial(1))
    p_end = torch.softmax(logits[0, 0].double(), dim=-1)[EOS]
    expected = unlike - torch.log1p(-p_end)  # p(x) / (1 - p(EOS)), by hand
    torch.testing.assert_close(trained.algorithm.log_likelihood(one_token), expected, rtol=0, atol=1e-4)
