"""log p(x | z) of decoders of every likelihood, and importance sampling, by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from seqgen.functional import gaussian
from seqgen.image.networks import likelihood, pixel_losses

S, B = 2, 3


def decoder_model(kind: str) -> SimpleNamespace:
    """Two pixels, both of them the latent's only dimension, plus the label where there is one."""

    def decoder(latents: Tensor, labels: Tensor | None) -> Tensor:
        shift = 0 if labels is None else labels[:, None]
        return (latents + shift).expand(-1, 2)[:, None, None, :]

    return SimpleNamespace(
        config=SimpleNamespace(likelihood=kind), decoder=decoder, classes=5, log_sigma=torch.tensor(2.0).log()
    )


@pytest.mark.parametrize("kind", ["gaussian", "bernoulli", "squared_error", "poisson"])
def test_log_p_by_hand(kind: str) -> None:
    # latent s of image b is s + b, its label 2 b: the output is s + 3 b in both pixels; the image is 1 and 0
    images = torch.tensor([1.0, 0.0]).expand(B, 1, 1, 2)
    latents = torch.arange(S)[:, None, None] + torch.arange(B)[None, :, None].float()
    log_p = likelihood.decoder_log_likelihood(decoder_model(kind), images, 2 * torch.arange(B))(latents)
    for s in range(S):
        for b in range(B):
            level = s + 3.0 * b
            probability = 1 / (1 + math.exp(-level))
            expected = {
                "gaussian": -((1 - level) ** 2 + level**2) / 8 - 2 * math.log(2 * math.sqrt(2 * math.pi)),
                "bernoulli": math.log(probability) + math.log(1 - probability),
                "squared_error": -((1 - probability) ** 2) - probability**2 - math.log(math.pi),
                # counts 255 and 0 of one rate, 255 times the probability
                "poisson": 255 * math.log(255 * probability) - math.lgamma(256) - 2 * 255 * probability,
            }[kind]
            assert log_p[s, b].item() == pytest.approx(expected, rel=1e-4), (s, b)


def test_labels_are_left_out_where_the_decoder_is_not_conditional() -> None:
    model = decoder_model("gaussian")
    model.classes = 0
    images = torch.zeros(B, 1, 1, 2)
    log_p = likelihood.decoder_log_likelihood(model, images, torch.arange(B))(torch.zeros(S, B, 1))
    assert log_p.unique().numel() == 1


def test_importance_sampling_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    # Five draws in chunks of two: log p(x | z) = log k of the k-th draw, q = 2 p(z): log of the mean of k / 2
    monkeypatch.setattr(likelihood, "CHUNK", 7)
    sizes: list[int] = []

    def propose(draws: int) -> tuple[Tensor, Tensor]:
        first = sum(sizes)
        sizes.append(draws)
        latents = torch.arange(first + 1.0, first + draws + 1)[:, None, None].expand(draws, B, 1)
        return latents, gaussian.prior_log_density(latents) + math.log(2)

    log_p = likelihood.importance_sampling(lambda latents: latents[..., 0].log(), propose, 5, B)
    assert sizes == [2, 2, 1]
    torch.testing.assert_close(log_p, torch.full((B,), math.log((1 + 2 + 3 + 4 + 5) / 10)))


def test_the_poisson_likelihood_is_that_of_the_bytes() -> None:
    logits, counts = torch.randn(B, 1, 2, 5), torch.randint(256, (B, 1, 2, 5))
    density = torch.distributions.Poisson(255 * torch.sigmoid(logits)).log_prob(counts)
    ours = pixel_losses.loss("poisson", logits, counts / 255)
    torch.testing.assert_close(-ours, density.sum(dim=(1, 2, 3)), rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(pixel_losses.means("poisson", logits), torch.sigmoid(logits))
    assert pixel_losses.constant("poisson", 10) == 0
