"""MaskGAN: returns, critic and the discriminator's loss by hand; what fills a blank knows what follows it."""

import math

import pytest
import torch
from helpers import batch, build, moved, sentences, weights

from seqgen.algorithms import infill_policy
from seqgen.algorithms.policy_gradient import Rollout
from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.generation.sample import Samples

TOKENS = torch.tensor([[5, 6, 7, EOS], [8, 9, EOS, PAD]])
MASK = torch.tensor([[True, False, True, False], [False, True, False, False]])
SMALL = {"discriminator_pretraining_steps": 0}


def logit(probability):
    return math.log(probability / (1 - probability))


def test_returns_are_discounted_over_the_blanks(monkeypatch):
    algorithm = build("maskgan", {"discount": 0.5})
    logits = torch.tensor([[logit(0.5), 9.0, logit(0.25), 9.0], [9.0, logit(0.75), 9.0, 9.0]])
    seen = []
    algorithm.discriminator.forward = lambda *versions: seen.append(versions) or logits[..., None]
    found = algorithm.token_rewards(TOKENS, MASK, sentences())
    # log ½ + ½ ½ log ¼ two tokens on; log ¼; log ¾
    wanted = [[math.log(0.5) + 0.25 * math.log(0.25), 0, math.log(0.25), 0], [0, math.log(0.75), 0, 0]]
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=1e-5, atol=1e-6)
    filled, template = seen[0]
    assert torch.equal(filled, TOKENS)
    assert template.tolist() == [[UNK, 6, UNK, EOS], [8, UNK, EOS, PAD]]


def test_the_critics_estimate_is_taken_off():
    algorithm = build("maskgan")
    returns = torch.tensor([[-1.0, 0.0, -2.0, 0.0], [0.0, -3.0, 0.0, 0.0]])
    values = torch.tensor([[-1.0, 7.0, -1.0, 7.0], [7.0, -2.0, 7.0, 7.0]], requires_grad=True)
    algorithm.value.forward = lambda hidden: values
    found, losses = algorithm.advantages(Rollout(TOKENS, MASK, returns), torch.zeros(2, 4, 11), 0.5)
    # 0, -1, -1 have the mean -2/3 and the deviation √2 / 3
    wanted = [[math.sqrt(2), 0, -math.sqrt(0.5), 0], [0, -math.sqrt(0.5), 0, 0]]
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=1e-5, atol=1e-6)
    assert losses[algorithm.optimizers["value"]].item() == pytest.approx(2 / 3)


def test_the_discriminator_learns_at_the_blanks(monkeypatch):
    algorithm = build("maskgan")
    monkeypatch.setattr(infill_policy, "mask_words", lambda tokens, rate: tokens.masked_fill(MASK, UNK))
    filled = TOKENS.where(~MASK, 10)
    monkeypatch.setattr(algorithm, "infill", lambda template: Samples(filled, torch.zeros(2, 4)))
    scores = {10: logit(0.25), 5: logit(0.75), 7: logit(0.5), 9: logit(0.9)}  # others count for nothing
    algorithm.discriminator.forward = lambda tokens, template: torch.tensor(
        [[[scores.get(id, 50.0)] for id in row] for row in tokens.tolist()]
    )
    loss, metrics = algorithm.discriminator_loss(TOKENS, TOKENS)
    real = -(math.log(0.75) + math.log(0.5) + math.log(0.9)) / 3
    assert loss.item() == pytest.approx((real - math.log(0.75)) / 2, rel=1e-5)
    assert float(metrics["d_accuracy"]) == pytest.approx((2 / 3 + 1) / 2)


def test_a_rollout_is_real_but_at_its_blanks():
    algorithm = build("maskgan", SMALL | {"mask_rate": 0.6, "batch_size": 5})
    real = sentences(10)
    rollout = algorithm.prepare(real)
    assert torch.equal(rollout.tokens[~rollout.mask], real[:5][~rollout.mask])
    assert 0 < int(rollout.mask.sum()) < int((real[:5] != PAD).sum())
    assert not torch.isin(rollout.tokens[rollout.mask], torch.tensor([PAD, EOS, UNK])).any()
    assert not rollout.rewards[~rollout.mask].any()


def test_the_policy_is_what_filled_the_blanks():
    algorithm = build("maskgan", SMALL | {"mask_rate": 0.6, "generator.dropout": 0.5, "encoder.dropout": 0.5})
    with torch.no_grad():
        algorithm.encoder.output.weight.normal_()
    algorithm.train()
    real = sentences()
    template = real.masked_fill(torch.rand(real.shape) < 0.5, UNK).where(real > UNK, real)
    tokens, log_probs = algorithm.infill(template)
    rollout = Rollout(tokens, template == UNK, torch.zeros(tokens.shape))
    with algorithm.policy.without_dropout():
        hidden = algorithm.read(rollout)
    bias = algorithm.generator.bias(algorithm.forbidden)
    logits = torch.nn.functional.linear(hidden, algorithm.generator.head.weight, bias)
    found = logits.log_softmax(dim=-1).gather(2, tokens[..., None])[..., 0]
    torch.testing.assert_close(found[rollout.mask], log_probs[rollout.mask], rtol=1e-4, atol=1e-5)
    assert algorithm.encoder.training


def test_it_starts_as_the_language_model_that_it_stays_without_blanks():
    start, algorithm = build("mle", seed=3), build("maskgan", SMALL)
    algorithm.start_from(start)
    tokens = sentences()
    torch.testing.assert_close(algorithm.log_likelihood(tokens), start.log_likelihood(tokens))
    assert not algorithm.encoder(tokens).any()


def test_while_the_discriminator_is_pretrained_the_encoder_learns_and_the_generator_rests():
    algorithm = build("maskgan", {"discriminator_pretraining_steps": 3})
    before = weights(algorithm)
    metrics = [algorithm.step(batch(seed=i), 0.0) for i in range(2)]
    assert {name.split(".")[0] for name in moved(algorithm, before)} == {"discriminator", "encoder"}
    assert all("infill_nll" in each and "reward" not in each for each in metrics)


def test_a_blank_is_filled_by_what_follows_it():
    # The first word is a coin, 4 or 5, of which nothing before it says anything, and the second says which.
    values = {"batch_size": 30, "encoder.lr": 3e-2, "lr": 1e-2, "encoder.dropout": 0.0}
    values |= {"target_entropy": 0.0, "entropy_coefficient": 0.0}  # what is random at first need not stay so
    algorithm = build("maskgan", SMALL | values)
    real = torch.tensor([[4, 8, EOS], [5, 9, EOS]]).repeat(15, 1)
    torch.manual_seed(1)
    for i in range(80):
        algorithm.step(Batch(real), i / 80)
    template = torch.tensor([[UNK, 8, EOS], [UNK, 9, EOS]]).repeat(50, 1)
    found = algorithm.infill(template).tokens[:, 0].view(50, 2)
    assert (found == torch.tensor([4, 5])).float().mean() > 0.8


def test_settings_out_of_range():
    for wrong in (
        {"mask_rate": 1.5},
        {"discount": -0.1},
        {"encoder.hidden": 0},
        {"discriminator.dropout": 1.0},
    ):
        with pytest.raises(UserError, match="is out of range"):
            settings.override(build("maskgan").config, wrong)
