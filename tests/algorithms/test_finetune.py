"""Starting from a run on another corpus: vocabulary, weights, both streams, the alignment of embeddings."""

import math
from dataclasses import replace

import helpers
import pytest
import torch
from helpers import GENERATOR_KINDS, GENERATORS
from helpers import write_lines as lines

from seqgen.algorithms import finetune
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.data.batches import Batches, pack
from seqgen.data.corpus import open_corpus
from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.data.tokenizer_training import train_tokenizer
from seqgen.generation.embeddings import sentence_embeddings
from seqgen.training import run_folder
from seqgen.training.data_config import DataConfig
from seqgen.training.setup import adversarial_job, pretrain, pretrain_job

V, MORE = 11, 3
SMALL = {"generator.embedding": 5, "generator.hidden": 7, "generator.dropout": 0.0}


def mle(vocab_size, seed=0, **values):
    return helpers.build("mle", SMALL | values, seed=seed, vocab_size=vocab_size)


@pytest.mark.parametrize("kind", ["word", "character", "bpe", "byte"])
def test_a_tokenizer_grows_without_moving_an_id(kind, tmp_path):
    base = train_tokenizer(["a cat sat", "a dog sat"], kind, min_count=1)
    more = open_corpus(lines(tmp_path / "a.txt", ["a bird sat", "the zebu"] * 20), valid=None).train
    grown = base.extended(more)
    assert grown.tokens(range(base.vocab_size)) == base.tokens(range(base.vocab_size))
    assert grown.encode("a dog sat") == base.encode("a dog sat")
    if kind in ("word", "character"):
        assert UNK in base.encode("the bird")
        assert UNK not in grown.encode("the bird")
        assert grown.decode(grown.encode("the bird sat")) == "the bird sat"
    else:
        assert grown is base


def test_a_model_takes_over_what_is_known_and_shares_the_unknown_word_out():
    old, new = mle(V), mle(V + MORE, seed=1)
    old.generator.head.offset.data.normal_()
    old.tokens_per_batch.value.fill_(29.0)
    finetune.adopt(new, old.state_dict())
    for name, mine in new.named_parameters():
        given = dict(old.named_parameters())[name]
        assert torch.equal(mine[: len(given)], given), name
    assert torch.equal(new.generator.embedding.weight[V:], old.generator.embedding.weight[[UNK] * MORE])
    assert float(new.tokens_per_batch.value) == 0.0
    tokens = torch.tensor([[4, 7, 5]])
    for model in (old, new):
        model.eval()
    before, _ = old.generator(tokens, old.generator.initial(1))
    after, _ = new.generator(tokens, new.generator.initial(1))
    odds = (after[..., V:].exp().sum(dim=-1) / after[..., 4].exp()).log()
    # three words of the unknown word's logit less log 3 together are as likely as it was
    assert torch.allclose(odds, before[..., UNK] - before[..., 4], atol=1e-5)
    assert torch.allclose(after[..., :V], before, atol=1e-5)


def test_replayed_batches_go_on_where_they_were():
    def stream():
        own = Batches(pack([[4, EOS]] * 5), 2, seed=0)
        other = Batches(pack([[i, EOS] for i in range(4, 11)]), 3, seed=0)
        return finetune.ReplayBatches(own, other)

    one, two = stream(), stream()
    for _ in range(4):
        next(one)
    two.load_state_dict(one.state_dict())
    assert one.epoch == two.epoch == 4 / 3
    for _ in range(5):
        mine, other = next(one), next(two)
        assert torch.equal(mine.tokens, other.tokens)
        assert torch.equal(mine.replay, other.replay)
    batch = next(one).to(torch.device("cpu"))
    assert finetune.real_tokens(batch) == 2 * (len(batch.tokens) + len(batch.replay))
    assert finetune.real_tokens(Batch(torch.tensor([[4, EOS], [EOS, PAD]]))) == 3


def test_alignment_is_the_cross_entropy_of_cosines_by_hand():
    generator, origin = mle(V).generator, mle(V, seed=2).generator
    batch = torch.tensor([[4, 5, EOS], [6, EOS, PAD]])
    mine, targets = (sentence_embeddings(model, batch).detach() for model in (generator, origin))
    states, _ = generator.hidden(torch.tensor([[1, 6]]), generator.initial(1))
    assert torch.allclose(mine[1], states[0].mean(dim=0), atol=1e-6)  # padding does not count
    cosine = torch.nn.functional.cosine_similarity
    table = [[float(cosine(a, b, dim=0)) / 0.2 for b in targets] for a in mine]
    rows = [math.log(sum(map(math.exp, row))) - row[i] for i, row in enumerate(table)]
    columns = [math.log(sum(map(math.exp, row))) - row[i] for i, row in enumerate(zip(*table, strict=True))]
    expected = (sum(rows) / 2 + sum(columns) / 2) / 2
    found = finetune.alignment(generator, origin, batch, temperature=0.2)
    assert found.item() == pytest.approx(expected, rel=1e-5)


SOURCE = [f"a {colour} {thing} is here" for colour in ("red", "blue", "black") for thing in ("cat", "dog")]
TARGET = [f"a {colour} bird is here" for colour in ("red", "blue", "black")]


@pytest.fixture
def source_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    corpus = lines(tmp_path / "source.txt", [f"{line} {i}" for i in range(23) for line in SOURCE])
    return pretrain(
        corpus, run="runs/source", min_count=1, steps=5, values=SMALL | {"generator.dropout": 0.4}
    )


def target(tmp_path):
    return DataConfig(
        corpus=lines(tmp_path / "target.txt", [f"{line} {i}" for i in range(17) for line in TARGET])
    )


@pytest.mark.parametrize("values", [{}, {"contrastive.align": 1.0}, {"replay": 0.5}])
def test_a_run_starts_from_another(source_run, tmp_path, values):
    how = {"init": source_run, "values": values | {"lr": 1e-2}}
    job = pretrain_job(target(tmp_path), path="runs/whole", steps=6, **how)
    assert job.algorithm.config.generator.hidden == SMALL["generator.hidden"]
    assert source_run.config["settings"]["generator"]["dropout"] == 0.4
    assert job.algorithm.config.generator.dropout == 0.06  # by the new corpus, not as the run had it
    assert any("starts from: runs/source" in note for note in job.notes)
    assert job.run.config["init"] == "../source"
    job.train()
    assert job.run.config["vocab_size"] == source_run.config["vocab_size"] + 1  # "bird"
    assert pretrain_job(target(tmp_path), path="runs/whole", steps=6, **how).train().step == 6
    metrics = run_folder.open_run(tmp_path / "runs/whole").metrics()[-1]
    reported = {name for name in ("align", "replay_nll") if name in metrics}
    assert reported == {{"contrastive.align": "align", "replay": "replay_nll"}[name] for name in values}


@pytest.mark.parametrize("kind", GENERATOR_KINDS)
def test_every_kind_of_generator_starts_from_a_run(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shape = {f"generator.{key}": size for key, size in GENERATORS[kind].items()} | {"generator.kind": kind}
    run = pretrain(target(tmp_path).corpus, run="runs/a", min_count=1, steps=2, values=shape)
    more = DataConfig(corpus=lines(tmp_path / "more.txt", [f"the bird {i} sleeps" for i in range(40)]))
    job = pretrain_job(
        more, path="runs/b", init=run, steps=2, values={"contrastive.align": 1.0, "replay": 0.5}
    )
    new = job.algorithm.generator
    old = run_folder.load_weights(run)
    for name, mine in new.named_parameters():
        given = old[f"generator.{name}"]
        assert torch.equal(mine[: len(given)], given), name
    assert helpers.same(job.algorithm.origin, new)
    kept = helpers.weights(job.algorithm.origin)
    assert job.train().step == 2
    assert not helpers.moved(job.algorithm.origin, kept)
    values = {"discriminator_pretraining_steps": 1, "rollouts": 2}
    gan = adversarial_job(run, "seqgan", path="runs/c", steps=1, values=values)
    assert type(gan.algorithm.generator) is type(new)
    assert gan.train().step == 2


def test_what_cannot_start_is_said(source_run, tmp_path):
    with pytest.raises(UserError, match="'runs/source' is a run of mle, not of autoencoder; give"):
        pretrain_job(target(tmp_path), "autoencoder", init=source_run)
    for values in ({"contrastive.align": 1.0}, {"replay": 1.0}):
        with pytest.raises(UserError, match="needs a run to start from; name one with --init"):
            pretrain_job(target(tmp_path), values=values)


@pytest.mark.parametrize("name", ["generator.hidden=11", "generator.cell=gru", "generator.tied=true"])
def test_weights_keep_their_shapes(source_run, tmp_path, name):
    values = dict([name.split("=")])
    message = f"setting {name.split('=')[0]}=.* does not fit the run to start from, which has"
    with pytest.raises(UserError, match=message):
        pretrain_job(target(tmp_path), init=source_run, values=values)
    with pytest.raises(UserError, match=message):
        adversarial_job(source_run, values=values)
    pretrain_job(target(tmp_path), init=source_run, values={"generator.dropout": 0.3})  # no weight's shape


def test_the_vocabulary_of_the_run_is_no_choice(source_run, tmp_path):
    for values in ({"tokenizer": "character"}, {"lowercase": True}, {"max_vocab": 50}, {"min_count": 1}):
        option = "--" + next(iter(values)).replace("_", "-")
        with pytest.raises(UserError, match=f"{option} does not go with --init: the vocabulary is the run's"):
            pretrain_job(replace(target(tmp_path), **values), init=source_run)


def test_words_new_to_a_run_that_knew_all_its_words_start_as_the_mean():
    old, new = mle(V), mle(V + MORE, seed=1)
    with torch.no_grad():
        old.generator.head.offset.normal_()
        old.generator.head.offset[UNK] = -30.0  # never seen, never likely
    finetune.adopt(new, old.state_dict(), unknown=False)
    mean = old.generator.embedding.weight.mean(dim=0)
    assert torch.allclose(new.generator.embedding.weight[V:], mean.expand(MORE, -1))
    assert torch.allclose(new.generator.head.offset[V:], old.generator.head.offset.mean().expand(MORE))


def test_a_run_serves_without_its_corpus(source_run, tmp_path):
    (source_run.path / source_run.config["data"]["corpus"]).unlink()
    job = pretrain_job(target(tmp_path), init=source_run, path="runs/t", steps=2)
    new = job.algorithm.generator.embedding.weight[source_run.config["vocab_size"] :]
    assert torch.equal(new, job.algorithm.generator.embedding.weight[[UNK] * len(new)])
    job.train()
    assert pretrain_job(target(tmp_path), init=source_run, path="runs/t", steps=3).train().step == 3


def test_a_run_can_have_the_tokenizer_of_another(source_run, tmp_path):
    data = DataConfig(corpus=target(tmp_path).corpus, tokenizer="runs/source")
    job = pretrain_job(data, path="runs/same", steps=1, values=SMALL)
    assert job.run.config["vocab_size"] == source_run.config["vocab_size"]
    assert job.run.config["data"]["tokenizer"] == "../source"


def test_alignment_keeps_the_embeddings(source_run, tmp_path):
    moved = []
    for weight in (0.0, 3.0):
        values = {"contrastive.align": weight, "lr": 1e-2, "generator.dropout": 0.0}
        job = pretrain_job(
            target(tmp_path), path=f"runs/{weight}", init=source_run, steps=40, values=values, seed=3
        )
        origin = mle(job.run.config["vocab_size"])
        origin.load_state_dict(
            {name: w for name, w in job.algorithm.state_dict().items() if not name.startswith("origin")}
        )
        job.train()
        tokens = torch.tensor([[4, 5, 6, EOS, PAD], [7, 5, EOS, PAD, PAD], [4, 8, 9, 5, EOS]])
        generator = job.algorithm.generator
        moved.append(finetune.alignment(generator, origin.generator, tokens, temperature=0.1).item())
    assert moved[1] < 0.7 * moved[0]
