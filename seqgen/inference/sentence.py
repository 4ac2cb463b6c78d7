"""What sampling yields."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Sentence:
    """One sampled sentence."""

    text: str
    tokens: int
    """Number of its tokens, those of the prompt and EOS included."""
    log_prob: float | None
    """Nats under the model at temperature 1; None if not requested or the model has no likelihood."""
    label: str | None = None
    """The label that it was given, of a run with labels."""
    source: str | None = None
    """The text that it goes on from, of a run with sources."""

    def to_dict(self) -> dict[str, Any]:
        """Return its fields, without the label or source of a run that has none."""
        return {
            name: value
            for name, value in vars(self).items()
            if value is not None or name not in ("label", "source")
        }
