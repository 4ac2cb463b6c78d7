"""Filling blanks of given sentences by a generator that is told what stands around them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seqgen.core import distributed
from seqgen.data.tokenizer import BOS, EOS, UNK
from seqgen.functional.chunked_loss import head_loss, real_rows
from seqgen.generation.categorical import Truncation, drawer
from seqgen.generation.sample import Samples, shifted
from seqgen.models.base import Generator, evaluating

NO_WORDS = (UNK, EOS)
"""What no blank is filled with, beside PAD and BOS."""


def infill(
    generator: Generator,
    encoder: nn.Module,
    template: Tensor,
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    forbid: Sequence[int] = (),
    rng: torch.Generator | None = None,
) -> Samples:
    """Draw a word for each blank, from left to right; the other tokens stay as they are.

    template (B, T): sentences with UNK at their blanks. encoder: template → what is added to what the
    generator's head reads before each token, (B, T, H). Options as of `seqgen.generation.categorical.draw`.
    The log-probabilities are 0 at what was given. Dropout and gradients are off.
    """
    head, blanks = generator.head, template == UNK
    tokens, log_probs = template.clone(), torch.zeros(template.shape, device=template.device)
    with evaluating(generator), evaluating(encoder):
        context = encoder(template)
        state, given = generator.initial(len(template)), torch.full_like(template[:, :1], BOS)
        draw = drawer(
            head.weight,
            head.bias,
            context.dtype,
            temperature=temperature,
            cut=Truncation(top_k, top_p, min_p),
            forbid=(*NO_WORDS, *forbid),
        )
        uniform = distributed.rand(*template.shape, device=template.device, generator=rng)
        for t in range(template.shape[1]):
            hidden, state = generator.hidden(given, state)
            drawn, scores = draw((hidden[:, 0] + context[:, t]).to(context.dtype), uniform[:, t : t + 1])
            tokens[:, t] = drawn[:, 0].where(blanks[:, t], template[:, t])
            log_probs[:, t] = scores[:, 0].where(blanks[:, t], 0)
            given = tokens[:, t : t + 1]
    return Samples(tokens, log_probs)


def read_filled(generator: Generator, encoder: nn.Module, tokens: Tensor, template: Tensor) -> Tensor:
    """Return what the head reads to draw each token of filled sentences, given their template; (B, T, H)."""
    states, _ = generator.hidden(shifted(tokens), generator.initial(len(tokens)))
    return states + encoder(template)


def blank_nll(generator: Generator, encoder: nn.Module, tokens: Tensor, template: Tensor) -> Tensor:
    """Return the mean -log p of the words (B, T) at a template's blanks, in nats; scalar, 0 without any.

    Unknown words are no blanks. Dropout is as the modes of the networks have it.
    """
    head, mask = generator.head, (template == UNK) & (tokens != UNK)
    hidden = read_filled(generator, encoder, tokens, template)
    rows, targets, weights = real_rows(mask, hidden, tokens, mask / distributed.mean(mask.sum()).clamp(min=1))
    return head_loss(rows, head.weight, generator.bias(NO_WORDS), targets, weights).loss
