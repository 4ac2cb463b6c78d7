"""An endless stream of batches in a seeded order, whose position is one number."""

from abc import abstractmethod
from typing import Any


class Stream:
    """What every stream of batches does: it counts its batches, and goes on from a saved count."""

    _step = 0
    """Batches given so far."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the batches of an epoch."""

    @abstractmethod
    def _identity(self) -> dict[str, int]:
        """Return what the order of the stream depends on."""

    @property
    def epoch(self) -> float:
        """Epochs of the stream done so far."""
        return self._step / len(self)

    def state_dict(self) -> dict[str, Any]:
        """Return the position, and what else the stream depends on."""
        return {"step": self._step, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved position; ValueError where it belongs to another stream."""
        for name, value in self._identity().items():
            if state[name] != value:
                raise ValueError(f"the saved batch order has {name} {state[name]}, not {value}")
        self._step = state["step"]
