"""Maximum likelihood: closed forms, a language of known entropy, calibration, the contrastive loss."""

import math

import pytest
import torch
from helpers import LENGTH, V, batch, build, padded, run, same, sentences

from seqgen import algorithms
from seqgen.algorithms.mle import MLE, MLEConfig, calibrate, mean_nll, nll_and_states
from seqgen.core import optim, settings
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.data.batches import Batches, pack
from seqgen.data.tokenizer import BOS, EOS, PAD
from seqgen.functional import contrastive_losses


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
    def fitted(count, **values):
        config = settings.override(algorithms.get("mle").config(), values).fitted(count)
        return config.generator.dropout, config.weight_decay, config.epochs

    assert fitted(100) == fitted(10_000) == (0.55, 0.05, 25)
    assert fitted(30_000) == (0.1, 0.01, 20)
    assert fitted(60_000) == (0.1, 0.01, 10)
    assert fitted(10_000_000) == (0.1, 0.01, 3)
    # the square root of 3 is half way in the logarithm
    assert fitted(17_321)[:2] == (pytest.approx(0.325, abs=1e-3), pytest.approx(0.03, abs=1e-3))
    assert fitted(30_000, dropout=0.3, epochs=2, weight_decay=0.0) == (0.3, 0.0, 2)
    with pytest.raises(UserError, match="dropout is not set"):
        MLE(MLEConfig(), vocab_size=V, length=LENGTH)


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
