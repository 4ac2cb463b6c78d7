"""The samples of an oracle as a corpus: token ids, splits, training without an end, scores and evaluation."""

import pytest
import torch

import seqgen
from seqgen.core.errors import UserError
from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.evaluation.known_distribution import oracle_scores
from seqgen.generation import oracles
from seqgen.generation.oracles import FIRST
from seqgen.training import load
from seqgen.training.data_config import DataConfig, open_data, short_name
from seqgen.training.oracle_corpus import open_oracle_corpus, oracle_tokenizer, regularised, to_lines
from seqgen.training.setup import adversarial_job, pretrain_job

NAME = "oracle:lstm-3,vocab=23,hidden=5,length=7,sentences=101"
SMALL = {"generator.embedding": 5, "generator.hidden": 11, "generator.dropout": 0.0, "batch_size": 16}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("oracle-run")
        patch.setenv("SEQGEN_CACHE", str(folder / "cache"))
        yield seqgen.pretrain(NAME, run=folder / "run", values=SMALL, steps=40)


def test_the_splits():
    corpus = open_oracle_corpus(NAME, seed=1)
    assert [len(part) for part in (corpus.train, corpus.valid, corpus.test)] == [96, 5, 101]
    assert corpus.fixed_length == 7
    again, other = open_oracle_corpus(NAME, seed=1), open_oracle_corpus(NAME, seed=2)
    assert (list(again.train), again.hash) == (list(corpus.train), corpus.hash)
    assert other.hash != corpus.hash
    assert list(other.train) != list(corpus.train)
    fixed = open_oracle_corpus(f"{NAME},seed=1", seed=2)
    assert fixed.hash == corpus.hash


def test_tokens_are_mapped_one_to_one():
    oracle, tokenizer = oracles.load(NAME), oracle_tokenizer(NAME)
    assert tokenizer.vocab_size == 23 + FIRST
    tokens = oracle.sample(13, seed=4)
    assert tokenizer.encode_batch(to_lines(tokens)) == tokens.tolist()
    assert [tokenizer.decode(row) for row in tokens] == to_lines(tokens)
    assert tokenizer.encode(" ".join(map(str, range(23)))) == list(range(FIRST, 23 + FIRST))


def test_a_run_neither_counts_nor_draws_an_end(run):
    assert (run.config["length"], run.config["fixed_length"], run.config["vocab_size"]) == (7, 7, 27)
    trained = load.load(run, "cpu")
    tokens = trained.algorithm.sample(97, rng=torch.Generator().manual_seed(0)).tokens
    assert tokens.shape == (97, 7)
    assert not torch.isin(tokens, torch.tensor([PAD, EOS, UNK])).any()
    with torch.no_grad():
        logits, _ = trained.algorithm.generator(tokens[:, :1], trained.algorithm.generator.initial(97))
    assert float(torch.softmax(logits, -1)[..., [PAD, EOS, UNK]].sum()) == 0
    ids = load.ids_of(trained, ["3 1 4 1 5 9 2", "0 0 0 0 0 0 22"])
    assert [row.tolist() for row in (ids[0], ids[1])] == [
        [x + FIRST for x in (3, 1, 4, 1, 5, 9, 2)],
        [x + FIRST for x in (0, 0, 0, 0, 0, 0, 22)],
    ]
    assert [each.tokens for each in seqgen.score(trained, ["3 1 4 1 5 9 2"])] == [7]


def test_evaluation_has_both_likelihoods(run):
    trained = load.load(run, "cpu")
    results = seqgen.evaluate(trained, n=53)
    test = torch.tensor([trained.tokenizer.encode(line) for line in trained.corpus.test])
    nats = -trained.algorithm.log_likelihood(test).mean() / 7
    assert results["nll_test"] == pytest.approx(float(nats), rel=1e-5)
    assert results["likelihood"]["test"]["tokens"] == 7 * 101
    lines = [sentence.text for sentence in seqgen.sample(trained, 53, seed=0)]
    oracle = oracles.load(NAME)
    drawn = torch.tensor([trained.tokenizer.encode(line) for line in lines])
    assert results["oracle"]["nll_oracle"] == pytest.approx(
        float(-oracle.log_likelihood(drawn).mean()) / 7, rel=1e-6
    )
    assert results["oracle"]["entropy"] < results["nll_test"]
    from seqgen.evaluation.table import render

    assert "under the oracle of the corpus" in render(results, "run")


def test_scores_of_the_oracle_by_hand():
    oracle = oracles.load(NAME)
    lines = to_lines(oracle.sample(2, seed=1))
    one, other = (-oracle.log_likelihood(oracle.sample(2, seed=1)) / 7).tolist()
    found = oracle_scores(lines, lines, oracle)
    assert found["nll_oracle"] == found["entropy"] == pytest.approx((one + other) / 2)
    # of two values the standard error is half their difference
    assert found["standard_errors"]["nll_oracle"] == pytest.approx(abs(one - other) / 2)


def test_the_same_command_resumes_and_adversarial_training_starts_from_it(run, tmp_path):
    assert seqgen.pretrain(NAME, run=run.path, values=SMALL, steps=40).path == run.path
    values = {"discriminator_pretraining_steps": 1, "rollouts": 2, "batch_size": 4}
    gan = load.load(seqgen.adversarial(run, "seqgan", run=tmp_path / "gan", steps=2, values=values), "cpu")
    assert not (gan.algorithm.sample(53).tokens == EOS).any()


def test_its_samples_need_more_dropout_and_a_higher_rate_than_text_where_they_need_any(tmp_path):
    def regularisation(verb=pretrain_job, **options):
        data = DataConfig(corpus="oracle:lstm-2,vocab=31,hidden=7,sentences=103")
        config = verb(data=data, path=tmp_path / "run", **options).algorithm.config
        return config.generator.dropout, config.weight_decay, config.lr

    assert regularisation() == (0.55, 0.3, 0.02)
    assert regularisation(values={"weight_decay": 0.0}) == (0.55, 0.0, 0.02)
    assert regularisation(values={"lr": 0.003}) == (0.55, 0.3, 0.003)
    assert regularisation(values={"generator.dropout": 0.3}) == (0.3, 0.3, 0.02)
    transformer = {"generator.kind": "transformer", "generator.hidden": 12, "generator.heads": 3}
    assert regularisation(values=transformer) == (0.55, 0.3, 0.003)
    assert regularisation(algorithm="sentence-vae") == (0.55, 0.03, 0.003)
    few = {"generator.hidden": 7, "generator.embedding": 5}
    assert regularisation(values=few, steps=2) == (0.0, 0.01, 0.003)  # each parameter hardly fits a token
    without = object()  # as the settings of an algorithm without a generator
    assert regularised(without, without) is without
    assert regularisation(adversarial_job, algorithm="scratchgan")[0] == 0.55
    assert regularisation(adversarial_job, algorithm="scratchgan", values=few, steps=1)[0] == 0.0
    none = {"weight_decay": None}
    assert regularisation(adversarial_job, algorithm="scratchgan", values=none)[:2] == (0.55, None)


def test_options_that_an_oracle_decides_are_refused(tmp_path):
    for name, value in (("max_length", 5), ("min_count", 1), ("tokenizer", "character"), ("test", "x.txt")):
        with pytest.raises(UserError, match=f"--{name.replace('_', '-')} does not go with an oracle"):
            seqgen.pretrain(NAME, run=tmp_path / "run", **{name: value})
    assert not (tmp_path / "run").exists()


def test_names_and_text_corpora(tmp_path):
    assert short_name("oracle:lstm-3,length=40") == "lstm-3"
    assert short_name("oracle:/somewhere/weights.npz") == "weights"
    path = tmp_path / "lines.txt"
    path.write_text("a b\nc d\ne f\ng h\n")
    assert open_data(DataConfig(corpus=str(path)), seed=0).fixed_length is None
