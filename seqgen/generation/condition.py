"""What sentences are given, as sampling and scoring see it: tokens that stand before them.

How they come there, `seqgen.data.conditions` says.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from seqgen.core import distributed
from seqgen.core.errors import UserError
from seqgen.data.tokenizer import PAD


@dataclass(frozen=True)
class Condition:
    """The tokens of labels, or the one that ends a source, of which no sentence has any."""

    labels: tuple[int, ...] = ()
    """The token id of each label; none where sentences are given sources."""
    weights: tuple[float, ...] = ()
    """How often each label is given, in any unit."""
    then: int | None = None
    """The token id that ends a source."""

    @property
    def forbidden(self) -> tuple[int, ...]:
        """The tokens that no sentence has."""
        return self.labels if self.then is None else (*self.labels, self.then)

    def of_sentence(self, tokens: Tensor) -> Tensor:
        """Say which tokens are the sentence's own; (B, T) → bool (B, T), False at padding.

        Where a source has no end, all are.
        """
        real = tokens != PAD
        if self.then is not None:
            ends_later = (tokens == self.then).flip(1).cumsum(dim=1).flip(1) > 0
            return real & ~ends_later
        real.select(1, 0).fill_(False)  # an assignment would wait for the device
        return real

    def rows(
        self, n: int, given: Tensor | None, *, device: torch.device, rng: torch.Generator | None = None
    ) -> Tensor | None:
        """Return what each of n sentences is given, (n, P): labels are drawn by their weights if not given.

        None where that is a source of the model's own. `given` is (P,) or (n, P).
        """
        if given is not None:
            return given.to(device).expand(n, -1)
        if not self.labels:
            return None
        labels, weights = _on(self, device)

        def draw(rows: int) -> Tensor:
            return torch.multinomial(weights, rows, replacement=True, generator=rng)

        return labels[distributed.rows_of(draw, n)][:, None]

    def begun(self, n: int, options: dict[str, Any], *, device: torch.device) -> dict[str, Any]:
        """Return options of sampling n sentences, `condition` at the head of the prompt.

        It counts among the tokens of `min_length`, and is never drawn. UserError for a prompt without the
        source before it.
        """
        given = self.rows(n, options.pop("condition", None), device=device, rng=options.get("rng"))
        prompt = options.pop("prompt", None)
        if given is None:
            if prompt is not None:
                raise UserError(
                    "a prompt is the beginning of a sentence that has a source; give the source, too"
                )
            return options
        if prompt is not None:
            prompt = torch.cat((given, prompt.to(device).expand(n, -1)), dim=1)
        return options | {
            "prompt": given if prompt is None else prompt,
            "min_length": options.get("min_length", 0) + given.shape[1],
            "forbid": (*options.get("forbid", ()), *self.forbidden),
        }


@lru_cache(maxsize=16)
def _on(condition: Condition, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return labels and weights on a device, (L,) each; copied there once, as a copy waits for the device."""
    return torch.tensor(condition.labels, device=device), torch.tensor(condition.weights, device=device)
