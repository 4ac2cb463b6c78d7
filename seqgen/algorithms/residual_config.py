"""Settings of the residual energy model (`seqgen.algorithms.residual`)."""

from dataclasses import dataclass, field, replace
from typing import Literal, Self

from seqgen.algorithms.base import TrainingConfig
from seqgen.algorithms.configs import NGramConfig, default_generator
from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.models.base import GeneratorConfig
from seqgen.models.energy import EnergyConfig

STATES = 64
"""Size of what the energy reads of g's states, where g is known not to have memorised its sentences."""


@dataclass(frozen=True)
class ResidualConfig(TrainingConfig):
    """Settings of the residual energy model; the generator's are those of the run that it starts from."""

    generator: GeneratorConfig = field(default_factory=default_generator)
    ngram: NGramConfig = field(default_factory=NGramConfig)
    energy: EnergyConfig = field(default_factory=EnergyConfig)
    rounds: int = 1
    """discriminators whose energies are added, one more than the run has that training starts from"""
    steps: int = 3000
    """updates of the energy at most"""
    batch_size: int = 64
    """real sentences of an update, and as many generated ones"""
    lr: float = 2e-3
    """learning rate of AdamW at its highest; a cosine to zero follows"""
    weight_decay: float | None = 1e-4
    """AdamW's decay of matrices"""
    warmup: float = 0.02
    """fraction of training over which the learning rate rises"""
    report_every: int | None = 200
    """steps between reports"""
    patience: int | None = 8
    """reports without a lower held-out loss before training stops; nothing shows before 200 steps or so"""
    candidates: int = 8
    """candidates of which a sentence is chosen (K)"""
    cross_fitting: Literal["auto", "on", "off"] = "auto"
    """score training sentences by generators that have not seen them, which are trained first; auto: where
    the generator finds its training sentences more than 0.05 nats a token likelier than others"""
    folds: int = 5
    """parts of the corpus, and generators, of cross-fitting"""
    held_out_samples: int = 5000
    """samples of the generator that the energy is calibrated and its normaliser estimated by"""

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least = {"steps": 1, "rounds": 1, "candidates": 1, "folds": 2, "held_out_samples": 100}
        settings.bounds(self, **{name: (least, None) for name, least in at_least.items()})

    def cross_fitted(self, is_needed: bool) -> Self:
        """Return the settings with what was left open decided by whether cross-fitting is needed.

        UserError for states that no network reads.
        """
        energy = self.energy
        has_network = energy.network != "none"
        linear = is_needed or not has_network if energy.linear is None else energy.linear
        states = energy.states
        if states and not has_network:
            raise UserError(
                f"energy.states={states}: states are read by a network, and energy.network=none has none; "
                "leave one of them out"
            )
        if states is None:
            states = STATES if has_network and self.cross_fitting == "auto" and not is_needed else 0
        fitting: Literal["on", "off"] = "on" if is_needed else "off"
        return replace(self, cross_fitting=fitting, energy=replace(energy, linear=linear, states=states))

    def total_steps(self, batches: int) -> int:
        """Return the length of training in steps."""
        return self.steps
