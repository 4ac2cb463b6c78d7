"""The critic of adversarial variational Bayes finds the log ratio of two densities."""

import torch

from seqgen.core import optim
from seqgen.functional import gan_losses, gaussian
from seqgen.models.posterior_critic import PosteriorCritic, PosteriorCriticConfig

B, Z, H = 3, 5, 7


def test_the_critic_finds_the_log_ratio_of_two_gaussians() -> None:
    # T* = log q(z | x) - log p(z) for q = N(m(x), s(x)²), two images, in two dimensions
    torch.manual_seed(0)
    hidden = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    mean = torch.tensor([[0.5, -0.4], [-0.6, 0.2]])
    deviation = torch.tensor([[0.6, 0.9], [0.8, 0.7]])
    critic = PosteriorCritic(PosteriorCriticConfig(hidden=32), 2, 2)
    optimizer = optim.adamw(critic, lr=1e-2)
    loss_of = gan_losses.GAN_LOSSES["logistic"].discriminator
    steps = 400
    for step in range(steps):
        optim.scale_lr(optimizer, optim.warmup_cosine(step / steps, warmup=0.05))
        noise = torch.randn(2, 2, 250, 2)
        latents = mean[:, None] + deviation[:, None] * noise[0]
        loss = loss_of(critic(hidden, latents), critic(hidden, noise[1]))
        optim.update({optimizer: loss})
    latents = mean[:, None] + deviation[:, None] * torch.randn(2, 5000, 2)
    scores = critic(hidden, latents).detach()
    log_var = 2 * deviation.log()[:, None]
    exact = gaussian.log_density(latents, mean[:, None], log_var) - gaussian.prior_log_density(latents)
    assert (scores - exact).abs().mean() < 0.1  # of a ratio that deviates by 0.8
    # its mean is the divergence: Σ ½ (m² + s² - 1 - log s²)
    kl = gaussian.kl(mean, 2 * deviation.log()).sum(dim=1)
    torch.testing.assert_close(scores.mean(dim=1), kl, rtol=0, atol=5e-2)


def test_an_untrained_critic_gives_every_latent_the_same_score() -> None:
    critic = PosteriorCritic(PosteriorCriticConfig(), H, Z)
    scores = critic(torch.randn(B, H), torch.randn(B, 11, Z))
    assert scores.shape == (B, 11)
    assert scores.unique().numel() == 1
