"""Maximum likelihood: closed forms, a language of known entropy, calibration, the contrastive loss."""

import math

import pytest
import torch
from helpers import LENGTH, V, batch, build, padded, run, same, sentences, without_compaction

from seqgen import algorithms
from seqgen.algorithms import mle
from seqgen.algorithms.base import TrainingConfig
from seqgen.algorithms.mle import (
    MLE,
    MLEConfig,
    calibrate,
    fit_mixture,
    mean_nll,
    nll_and_states,
    sentence_log_probs,
)
from seqgen.algorithms.regularisation import TextSize
from seqgen.core import optim, settings
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.data.batches import Batches, pack
from seqgen.data.tokenizer import BOS, EOS, PAD
from seqgen.functional import contrastive_losses
from seqgen.generation.sample import sentence_log_prob, shifted
from seqgen.models.ngram_mixture import GateFit


def test_nll_does_not_depend_on_padding():
    algorithm = build("mle")
    algorithm.eval()
    tokens = sentences()
    assert mean_nll(algorithm.generator, tokens).item() == pytest.approx(
        mean_nll(algorithm.generator, padded(tokens)).item(), abs=1e-6
    )


def test_mean_nll_is_the_closed_form_of_a_uniform_model():
    algorithm = build("mle")
    with torch.no_grad():
        for parameter in algorithm.parameters():
            parameter.zero_()
    # PAD and BOS are ruled out: every one of the V - 2 others is as likely
    assert mean_nll(algorithm.generator, sentences()).item() == pytest.approx(math.log(V - 2), abs=1e-6)


def test_maximum_likelihood_learns_a_language_of_known_entropy():
    # Three tokens, then EOS: the first uniform over 4, the second determined by it, the third uniform over 2.
    rng = torch.Generator().manual_seed(0)
    first = torch.randint(4, 8, (600, 1), generator=rng)
    third = torch.randint(4, 6, (600, 1), generator=rng)
    tokens = torch.cat((first, first + 4, third, torch.full((600, 1), EOS)), dim=1)
    floor = (math.log(4) + math.log(2)) / 4
    values = {"batch_size": 20, "generator.hidden": 23, "generator.dropout": 0.0, "lr": 1e-2}
    for seed in range(3):
        algorithm = build("mle", values, seed=seed)
        batches = Batches(pack(tokens.tolist()), 20, seed=seed)
        for i in range(300):
            algorithm.step(next(batches), i / 300)
        assert algorithm.evaluate([Batch(tokens)])["valid_nll"] < 1.03 * floor


def test_calibration_finds_the_temperature_of_least_nll():
    algorithm = build("mle", {"generator.dropout": 0.0, "calibration": 1.0, "generator.tied": True})
    generator = algorithm.generator.eval()
    with torch.no_grad():
        generator.head.weight.mul_(20)  # logits far apart, so that the temperature matters
    truth = generator.head.weight.detach().clone()
    torch.manual_seed(4)
    logits, _ = generator(sentences(), generator.initial(6))
    # A generator that draws from its own logits / 1.1 is best calibrated by 1.1.
    generator.head.scale.fill_(1 / 1.1)
    held_out = algorithm.sample(4000).tokens
    assert calibrate(generator, [held_out], fraction=1.0) == pytest.approx(1.1, rel=0.02)
    assert calibrate(generator, [held_out], fraction=0.5) == pytest.approx(1.1**0.5, rel=0.01)
    assert torch.equal(generator.head.weight, truth)  # the shared matrix is still the embedding
    generator.head.scale.fill_(0.5)
    halved, _ = generator(sentences(), generator.initial(6))
    assert torch.allclose(halved[..., 2:], logits[..., 2:] / 2, atol=1e-5)
    assert calibrate(generator, [held_out], fraction=0.0) == 1.0
    assert calibrate(generator, [], fraction=1.0) == 1.0


def test_training_goes_on_from_weights_that_are_not_calibrated():
    one, two = build("mle"), build("mle")
    two.evaluate([batch(seed=3)])
    run(one)
    run(two)
    assert same(one, two)


def test_what_is_left_to_the_corpus_is_fitted_to_its_size():
    def fitted(sentences, tokens, steps=None, **values):
        text = TextSize(sentences, tokens, 5_003)
        config = settings.override(algorithms.get("mle").config(), values).fitted(text, steps)
        return config.generator.dropout, config.weight_decay, config.epochs

    assert fitted(100, 900)[2] == fitted(10_000, 100_000)[2] == 25
    assert fitted(30_000, 330_000) == (0.27, 0.1801, 20)
    assert fitted(60_000, 700_000) == (0.1, 0.01, 10)
    assert fitted(10_000_000, 10**8) == (0.0, 0.01, 3)
    # fewer passes need less of it, of 469 steps each
    assert fitted(30_000, 330_000, 10 * 469)[0] == 0.1
    assert fitted(30_000, 330_000, epochs=7)[0] == 0.03
    assert fitted(30_000, 330_000, 20 * 469)[:2] == (0.27, 0.1801)
    # weight decay goes with the dropout, whoever chose that
    assert fitted(30_000, 330_000, dropout=0.325)[:2] == (0.325, 0.3)
    assert fitted(30_000, 330_000, dropout=0.0)[:2] == (0.0, 0.01)
    assert fitted(30_000, 330_000, dropout=0.3, epochs=2, weight_decay=0.0) == (0.3, 0.0, 2)
    with pytest.raises(UserError, match="dropout is not set"):
        MLE(MLEConfig(), vocab_size=V, length=LENGTH)


def test_a_learning_rate_that_is_left_open_is_that_of_text():
    open_, none_at_all = MLEConfig(), MLEConfig(lr=0.0)
    assert open_.peak_lr == open_.fitted(TextSize(100, 900, 53)).lr == 0.003
    assert none_at_all.peak_lr == none_at_all.fitted(TextSize(100, 900, 53)).lr == 0.0

    class OfUsers(TrainingConfig):
        def total_steps(self, batches):
            return batches

    assert OfUsers(lr=None).peak_lr == OfUsers().lr == 0.001  # where there is another default, that


def test_a_token_weighs_the_same_in_batches_of_short_and_of_long_sentences():
    algorithm = build("mle", {"generator.dropout": 0.0})
    short = torch.tensor([[5, EOS]] * 3)
    long = torch.tensor([[5, 6, 7, 8, 9, EOS]] * 3)
    seen = []
    optim_update = optim.update

    def record(losses, clip):
        seen.append(float(next(iter(losses.values())).detach()))
        return optim_update(losses, clip=clip)

    algorithm.tokens_per_batch.value.fill_(12.0)
    algorithm.tokens_per_batch.count.fill_(1e9)  # the mean of 12 tokens a batch is settled
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optim, "update", record)
        nlls = [algorithm.step(Batch(tokens), 0.0)["nll"] for tokens in (short, long)]
    # 6 tokens of a usual 12, then 18 of 12
    assert seen == pytest.approx([float(nlls[0]) * 6 / 12, float(nlls[1]) * 18 / 12], rel=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_the_contrastive_loss_is_added_with_its_weight(weight, monkeypatch):
    algorithm = build(
        "mle", {"generator.dropout": 0.0, "contrastive.weight": weight, "contrastive.margin": 1.1}
    )
    seen = []

    def record(losses, clip):
        seen.extend(float(loss.detach()) for loss in losses.values())
        return {optimizer: 0.0 for optimizer in losses}

    monkeypatch.setattr(optim, "update", record)
    metrics = algorithm.step(batch(), 0.5)
    read = torch.cat((torch.full((6, 1), BOS), sentences()[:, :-1]), dim=1)
    with torch.no_grad():
        states, _ = algorithm.generator.hidden(read, algorithm.generator.initial(6))
    mask = sentences() != PAD
    spread = contrastive_losses.token_contrastive(states, mask, margin=1.1)
    assert seen == [pytest.approx(float(metrics["nll"] + weight * spread), rel=1e-5)]
    assert ("contrastive" in metrics) == (weight > 0)
    if weight:
        assert float(metrics["contrastive"]) == pytest.approx(float(spread), rel=1e-5)
        assert float(metrics["anisotropy"]) == pytest.approx(
            float(contrastive_losses.anisotropy(states, mask)), abs=1e-6
        )


def test_the_contrastive_loss_parts_the_representations():
    one, other = (build("mle", {"contrastive.weight": w, "contrastive.margin": 1.0}) for w in (0.0, 3.0))
    similarity = []
    for algorithm in (one, other):
        run(algorithm, steps=60)
        algorithm.eval()
        with torch.no_grad():
            _, states = nll_and_states(algorithm.generator, sentences())
        similarity.append(float(contrastive_losses.anisotropy(states, sentences() != PAD)))
    assert similarity[1] < similarity[0] - 0.05


def counted(values: dict | None = None, **sizes):
    """An algorithm with n-grams of 600 sentences of the language below."""
    algorithm = build("mle", {"ngram.order": 3, "generator.dropout": 0.0} | (values or {}), **sizes)
    algorithm.read_corpus(pack(pairs(600, seed=0).tolist()))
    return algorithm


def pairs(rows: int, *, seed: int) -> torch.Tensor:
    """Sentences of two tokens and an end: the first of four, the second determined by it."""
    first = torch.randint(4, 8, (rows, 1), generator=torch.Generator().manual_seed(seed))
    return torch.cat((first, first + 4, torch.full((rows, 1), EOS)), dim=1)


def test_n_grams_lower_the_validation_nll_of_a_network_that_knows_nothing():
    algorithm = counted()
    valid = [Batch(pairs(61, seed=1)), Batch(pairs(7, seed=2))]
    report = algorithm.evaluate(valid)
    floor = math.log(4) / 3
    assert report["network_nll"] > 2
    assert report["valid_nll"] < 1.1 * floor
    assert report["valid_ppl"] == pytest.approx(math.exp(report["valid_nll"]))
    assert report["ngram_weight"] > 0.9
    assert report["sample_nll"] == pytest.approx(floor, rel=0.2)
    # What is reported of the network alone is what a run without n-grams reports.
    alone = build("mle", {"generator.dropout": 0.0})
    assert alone.evaluate(valid)["valid_nll"] == pytest.approx(report["network_nll"], rel=1e-5)
    # The likelihood is that of the mixture.
    tokens = torch.cat([each.tokens for each in valid])
    assert -float(algorithm.log_likelihood(tokens).sum()) / tokens.numel() < 1.1 * floor
    assert -float(alone.log_likelihood(tokens).sum()) / tokens.numel() > 2


def test_n_grams_change_nothing_of_what_is_learned():
    one, other = counted(), build("mle", {"generator.dropout": 0.0})
    run(one)
    one.evaluate([batch()])
    run(other)
    other.evaluate([batch()])
    run(one, seed=6)
    run(other, seed=6)
    assert same(one.generator, other.generator)


def test_where_n_grams_do_not_help_the_network_is_alone():
    algorithm = counted()
    tokens = torch.randint(4, V, (61, LENGTH), generator=torch.Generator().manual_seed(7))
    report = algorithm.evaluate([Batch(tokens)])  # of which the counts know nothing
    assert report["ngram_weight"] == 0.0
    assert report["valid_nll"] == pytest.approx(report["network_nll"], rel=1e-6)
    assert algorithm.mixed is None
    alone = build("mle", {"generator.dropout": 0.0})
    alone.evaluate([Batch(tokens)])
    assert torch.equal(algorithm.log_likelihood(tokens), alone.log_likelihood(tokens))


def test_every_sentence_is_counted_from_its_beginning_to_its_end():
    algorithm = build("mle", {"ngram.order": 3})
    algorithm.read_corpus(pack([[4, 5, EOS], [6, 7]]))  # the second one is truncated
    tables = algorithm.mixture.tables
    grams = {(int(key) // V, int(key) % V) for key in tables.keys if int(key) // V < V}
    assert grams == {(BOS, 4), (4, 5), (5, EOS), (BOS, 6), (6, 7)}


def test_the_gate_is_fitted_to_an_even_choice_of_many_sentences(monkeypatch):
    monkeypatch.setattr(mle, "GATE_SENTENCES", 10)
    algorithm = counted()
    seen = []
    monkeypatch.setattr(algorithm.mixture, "fit", lambda held_out: seen.append(held_out) or GateFit(1, 2, 3))
    tokens = pairs(35, seed=1)
    metrics = fit_mixture(algorithm.generator, algorithm.mixture, [tokens[:11], tokens[11:13], tokens[13:]])
    assert metrics["network_nll"] == 2
    every = algorithm.generator.hidden(shifted(tokens[::4]), algorithm.generator.initial(9))[0]
    assert seen[0].sentence.tolist() == [number for number in range(9) for _ in range(3)]
    torch.testing.assert_close(seen[0].hidden, every.flatten(0, 1).detach(), atol=1e-5, rtol=0)


def test_an_order_of_one_is_refused():
    with pytest.raises(UserError, match=r"ngram\.order is 1; give 2 to 9, or 0"):
        settings.override(MLEConfig(), {"ngram.order": 1})


@pytest.mark.parametrize("in_full", [False, True])
def test_sentence_log_probs_are_those_of_log_prob_with_a_gradient(in_full, monkeypatch):
    algorithm = build("mle").eval()
    tokens, weights = sentences(5), torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0])
    wanted = sentence_log_prob(algorithm.generator, tokens)
    logits, _ = algorithm.generator(shifted(tokens), algorithm.generator.initial(5))
    of_tokens = torch.distributions.Categorical(logits=logits).log_prob(tokens)
    plain = (of_tokens.where(tokens != PAD, 0).sum(dim=1) * weights).sum()
    if in_full:
        without_compaction(monkeypatch)
    found = sentence_log_probs(algorithm.generator, tokens)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=0)
    parameters = list(algorithm.generator.parameters())
    mine, theirs = (torch.autograd.grad(each, parameters) for each in ((found * weights).sum(), plain))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("in_full", [False, True])
def test_sentence_log_probs_where_no_sentence_is_empty(in_full, monkeypatch):
    algorithm = build("mle").eval()
    algorithm.generator.head.never_ends_at = 0
    tokens = sentences(5)
    logits, _ = algorithm.generator(shifted(tokens), algorithm.generator.initial(5))
    logits = logits.clone()
    logits[:, 0, EOS] = -1e4
    of_tokens = torch.distributions.Categorical(logits=logits).log_prob(tokens)
    plain = of_tokens.where(tokens != PAD, 0).sum(dim=1)
    if in_full:
        without_compaction(monkeypatch)
    found = sentence_log_probs(algorithm.generator, tokens)
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=0)
    torch.testing.assert_close(
        sentence_log_prob(algorithm.generator, tokens), found.double(), rtol=1e-5, atol=0
    )
    parameters = list(algorithm.generator.parameters())
    mine, theirs = (torch.autograd.grad(each.sum(), parameters) for each in (found, plain))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)
