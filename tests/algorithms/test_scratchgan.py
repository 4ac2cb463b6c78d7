"""ScratchGAN: returns, baseline and the loss of every prefix by hand."""

import math

import pytest
import torch
from helpers import build, padded, sentences

from seqgen.algorithms import rewards, scratchgan
from seqgen.algorithms.policy_gradient import Rollout
from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.data.tokenizer import EOS, PAD
from seqgen.models.discriminator import prefix_logits

TOKENS = torch.tensor([[5, 6, EOS], [7, EOS, PAD]])
MASK = TOKENS != PAD


def logit(probability):
    return math.log(probability / (1 - probability))


LOGITS = torch.tensor([[logit(0.5), logit(0.75), logit(1 / 4)], [logit(0.9), logit(0.6), 9.0]])


def test_discounted_returns_by_hand():
    # from the end: 4; 2 + ½ 4; 1 + ½ 4
    assert rewards.discounted(torch.tensor([[1.0, 2.0, 4.0]]), 0.5).tolist() == [[3.0, 4.0, 4.0]]
    assert rewards.discounted(torch.tensor([[1.0, 2.0]]), 0.0).tolist() == [[1.0, 2.0]]


def test_a_tokens_return_is_discounted_and_padding_has_none(monkeypatch):
    algorithm = build("scratchgan", {"discount": 0.5})
    monkeypatch.setattr(scratchgan, "prefix_logits", lambda reader, tokens: LOGITS)
    found = algorithm.token_rewards(TOKENS, MASK, sentences())
    # rewards 2 D - 1: 0, ½, -½; 0.8, 0.2, nothing. Returns: ½ (½ - ¼), ½ - ¼, -½; 0.8 + ½ 0.2, 0.2
    wanted = [[0.125, 0.25, -0.5], [0.9, 0.2, 0.0]]
    torch.testing.assert_close(found, torch.tensor(wanted), rtol=1e-5, atol=1e-6)


def test_the_baseline_is_a_moving_average_of_the_mean_return():
    algorithm = build("scratchgan", {"baseline_decay": 0.75})
    returns = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 0.0]])  # mean 15 / 5 over real tokens
    found, losses = algorithm.advantages(Rollout(TOKENS, MASK, returns), torch.zeros(2, 3, 11), 0.5)
    assert algorithm.baseline.item() == pytest.approx(0.75)  # ¾ · 0 + ¼ · 3
    torch.testing.assert_close(
        found, torch.tensor([[0.25, 1.25, 2.25], [3.25, 4.25, 0.0]]), rtol=0, atol=1e-6
    )
    assert losses == {}
    algorithm.advantages(Rollout(TOKENS, MASK, returns), torch.zeros(2, 3, 11), 0.5)
    assert algorithm.baseline.item() == pytest.approx(0.75 * 0.75 + 0.25 * 3)
    assert "baseline" in algorithm.state_dict()


def test_the_discriminator_learns_from_every_prefix(monkeypatch):
    algorithm = build("scratchgan", {"label_smoothing": 0.1})
    on_fake = -LOGITS[:, :2]
    monkeypatch.setattr(
        scratchgan, "prefix_logits", lambda reader, tokens: LOGITS if tokens.shape[1] == 3 else on_fake
    )
    loss, metrics = algorithm.discriminator_loss(TOKENS, torch.tensor([[5, EOS], [EOS, PAD]]))
    real = [0.5, 0.75, 0.25, 0.9, 0.6]
    fake = [0.5, 0.25, 0.1]  # the last of the second sentence is padding
    wanted = -sum(0.9 * math.log(p) + 0.1 * math.log(1 - p) for p in real) / 5
    wanted -= sum(math.log(1 - p) for p in fake) / 3
    assert loss.item() == pytest.approx(wanted / 2, rel=1e-5)
    # 3 of 5 above ½, 2 of 3 below it
    assert float(metrics["d_accuracy"]) == pytest.approx((3 / 5 + 2 / 3) / 2)


@pytest.mark.parametrize("values", [{}, {"discriminator.kind": "generator", "generator.kind": "transformer"}])
def test_prefixes_are_scored_as_sentences_of_their_own(values):
    algorithm = build("scratchgan", values).eval()
    tokens = sentences()
    logits = prefix_logits(algorithm.discriminator, tokens)
    for t in (0, 3):
        alone = prefix_logits(algorithm.discriminator, tokens[:, : t + 1])[:, t]
        torch.testing.assert_close(alone, logits[:, t], rtol=1e-4, atol=1e-5)
    longer = prefix_logits(algorithm.discriminator, padded(tokens))[:, : tokens.shape[1]]
    torch.testing.assert_close(longer, logits, rtol=1e-4, atol=1e-5)


def test_it_needs_no_start_and_no_likelihood():
    algorithm = build("scratchgan")
    assert not algorithm.needs_start
    assert "nll" not in algorithm.generator_step(None, 0.0, sentences())
    with pytest.raises(UserError, match="here prefixes are scored; leave it out"):
        settings.override(algorithm.config, {"discriminator.bidirectional": True})


def test_it_stops_where_sentences_repeat_and_for_nothing_that_random_weights_have_more_of():
    algorithm = build("scratchgan")
    first = {"unique": 1.0, "sample_nll": 6.2, "distinct_tokens": 492.0, "valid_nll": 6.2}
    later = {"unique": 0.9, "sample_nll": 1.3, "distinct_tokens": 97.0, "valid_nll": 9.0}
    assert algorithm.should_stop(later, first) is None
    assert "unique sentences fell to 0.40" in algorithm.should_stop(later | {"unique": 0.4}, first)
