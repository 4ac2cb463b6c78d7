"""References for the speed benchmark: the plain loops of published SeqGAN code, on our models and weights.

Every function does the work of its counterpart in the package and returns what it returns; none is slowed
down on purpose. Recurrent steps go through the same network as ours; the optimiser is the same object.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.data.tokenizer import BOS, PAD
from seqgen.generation.sample import shifted
from seqgen.models.base import Generator
from seqgen.models.encoder import RNNEncoder
from seqgen.models.state import State


@torch.no_grad()
def sample(generator: Generator, batch: int, length: int) -> Tensor:
    """Draw sentences of `length` tokens by softmax and multinomial over the vocabulary; (B, T)."""
    given = torch.full((batch, 1), BOS, device=generator.head.weight.device)
    return _complete(generator, given, generator.initial(batch), length)


@torch.no_grad()
def rollout_rewards(generator: Generator, tokens: Tensor, discriminator: nn.Module, n: int) -> Tensor:
    """Mean score of n completions of every prefix, each read again from its start; (B, T) → (B, T).

    The loops over n and over prefixes are those of the published code; unlike it, no logits are made
    while a prefix is read.
    """
    batch, length = tokens.shape
    rewards = torch.zeros(batch, length, device=tokens.device)
    read = shifted(tokens)
    for _ in range(n):
        for t in range(1, length):
            state = generator.initial(batch)
            for i in range(t):
                _, state = generator.hidden(read[:, i : i + 1], state)
            rest = _complete(generator, tokens[:, t - 1 : t], state, length - t)
            rewards[:, t - 1] += torch.sigmoid(discriminator(torch.cat((tokens[:, :t], rest), dim=1)))
        rewards[:, -1] += torch.sigmoid(discriminator(tokens))
    return rewards / n


def adversarial_update(
    generator: Generator,
    discriminator: nn.Module,
    optimizer: torch.optim.Optimizer,
    *,
    batch: int,
    length: int,
    rollouts: int,
) -> Tensor:
    """Sample, score every prefix by rollouts and update the generator by REINFORCE; → the loss."""
    tokens = sample(generator, batch, length)
    rewards = rollout_rewards(generator, tokens, discriminator, rollouts)
    logits, _ = generator(shifted(tokens), generator.initial(batch))
    log_probs = F.log_softmax(logits, dim=-1).gather(2, tokens[..., None])[..., 0]
    return _step(generator, optimizer, -(log_probs * (rewards - rewards.mean(dim=0))).mean())


def pretraining_step(generator: Generator, optimizer: torch.optim.Optimizer, tokens: Tensor) -> Tensor:
    """Update the generator by the likelihood of real sentences, log_softmax and nll_loss; → the loss."""
    logits, _ = generator(shifted(tokens), generator.initial(len(tokens)))
    loss = F.nll_loss(F.log_softmax(logits, dim=-1).flatten(0, 1), tokens.flatten())
    return _step(generator, optimizer, loss)


def vae_step(
    encoder: RNNEncoder, decoder: Generator, optimizers: Sequence[torch.optim.Optimizer], tokens: Tensor
) -> Tensor:
    """Update a sentence-VAE by its bound, cross_entropy over the vocabulary at every position; → the loss."""
    mean, log_var = encoder(tokens)
    latents = mean + (0.5 * log_var).exp() * torch.randn_like(mean)
    logits, _ = decoder(shifted(tokens), decoder.initial(len(tokens), latents))
    recon = F.cross_entropy(logits.flatten(0, 1), tokens.flatten(), ignore_index=PAD, reduction="sum")
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum()
    loss = (recon + kl) / len(tokens)
    for optimizer in optimizers:
        optimizer.zero_grad()
    loss.backward()
    for network, optimizer in zip((encoder, decoder), optimizers, strict=True):
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
    return loss.detach()


def _complete(generator: Generator, given: Tensor, state: State, length: int) -> Tensor:
    drawn = []
    for _ in range(length):
        logits, state = generator(given, state)
        given = torch.multinomial(torch.softmax(logits[:, -1], dim=-1), 1)
        drawn.append(given)
    return torch.cat(drawn, dim=1)


def _step(generator: Generator, optimizer: torch.optim.Optimizer, loss: Tensor) -> Tensor:
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(generator.parameters(), 5.0)
    optimizer.step()
    return loss.detach()
