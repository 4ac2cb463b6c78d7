"""The algorithms, one file each; `base` is the whole contract, README.md builds one from nothing.

Imports `generation` and what stands above it. Start with `base`, then `mle`, then `adversary` and `seqgan`.

The two registries name the algorithms of each verb. An algorithm is a file here and a line below; one that
differs from another by its settings alone is a line with those settings. An algorithm outside this package is
named `module:Class`, or by an entry point of the group `seqgen.algorithms`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from seqgen.core import plugins, settings
from seqgen.core.errors import UserError

GROUP = "seqgen.algorithms"
"""Entry points under which an installed package offers algorithms."""


@dataclass(frozen=True)
class Entry:
    """A name in a registry: the class, and the settings in which the name differs from its defaults."""

    target: str
    """`module:Class`"""
    presets: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cls(self) -> Any:
        """The class of the algorithm."""
        return plugins.import_name(self.target)

    def config(self) -> Any:
        """Return the default settings under this name."""
        return settings.override(self.cls.Config(), self.presets)


PRETRAIN = {
    "mle": Entry("seqgen.algorithms.mle:MLE"),
    "sentence-vae": Entry("seqgen.algorithms.sentence_vae:SentenceVAE"),
    "autoencoder": Entry("seqgen.algorithms.autoencoder:Autoencoder"),
    "denoising-autoencoder": Entry(
        "seqgen.algorithms.autoencoder:Autoencoder", {"delete_rate": 0.3, "shuffle_distance": 3.0}
    ),
    "sentence-avb": Entry("seqgen.algorithms.sentence_avb:SentenceAVB"),
}
"""What maximises likelihood: `seqgen pretrain NAME`."""

ADVERSARIAL = {
    "residual": Entry("seqgen.algorithms.residual:Residual"),
    "seqgan": Entry("seqgen.algorithms.seqgan:SeqGAN"),
    "maligan": Entry("seqgen.algorithms.maligan:MaliGAN"),
    "rankgan": Entry(
        "seqgen.algorithms.contrastive_gan:ContrastiveGAN", {"loss": "ranking", "reward": "ranking"}
    ),
    "contrastive": Entry("seqgen.algorithms.contrastive_gan:ContrastiveGAN"),
    "pg-bleu": Entry("seqgen.algorithms.pg_bleu:PGBLEU"),
    "sentigan": Entry("seqgen.algorithms.sentigan:SentiGAN"),
    "leakgan": Entry("seqgen.algorithms.leakgan:LeakGAN"),
    "maskgan": Entry("seqgen.algorithms.maskgan:MaskGAN"),
    "relgan": Entry("seqgen.algorithms.relgan:RelGAN"),
    "catgan": Entry("seqgen.algorithms.catgan:CatGAN"),
    "gsgan": Entry("seqgen.algorithms.gsgan:GSGAN"),
    "textgan-mmd": Entry("seqgen.algorithms.textgan_mmd:TextGAN"),
    "cot": Entry("seqgen.algorithms.cot:CoT"),
    "dpgan": Entry("seqgen.algorithms.dpgan:DPGAN"),
    "jsdgan": Entry("seqgen.algorithms.jsdgan:JSDGAN"),
    "dgsan": Entry("seqgen.algorithms.dgsan:DGSAN"),
    "scratchgan": Entry("seqgen.algorithms.scratchgan:ScratchGAN"),
    "aegan": Entry("seqgen.algorithms.aegan:AEGAN"),
}
"""What a discriminator, or what stands in its place, takes part in: `seqgen adversarial NAME`."""

GROUPS = {
    "samples chosen among candidates": ("residual",),
    "policy gradient": (
        "seqgan",
        "maligan",
        "rankgan",
        "contrastive",
        "sentigan",
        "leakgan",
        "maskgan",
        "scratchgan",
    ),
    "policy gradient, no discriminator": ("pg-bleu", "dpgan"),
    "gradient through soft sentences": ("gsgan", "relgan", "catgan", "textgan-mmd"),
    "density ratios": ("cot", "jsdgan", "dgsan"),
    "autoencoder": ("aegan",),
}
"""How the adversarial algorithms learn, for the help of the command."""


def get(name: str, registry: Mapping[str, Entry] | None = None) -> Entry:
    """Return the entry of a name; UserError with the nearest name, or the other verb, where there is none."""
    known = PRETRAIN | ADVERSARIAL if registry is None else registry
    if name in known:
        return known[name]
    for other, verb in ((PRETRAIN, "pretrain"), (ADVERSARIAL, "adversarial")):
        if registry in (PRETRAIN, ADVERSARIAL) and name in other:
            raise UserError(f"'{name}' belongs to the other command: give 'seqgen {verb} {name}'")
    targets = {each: entry.target for each, entry in known.items()}
    cls = plugins.resolve(name, targets, "algorithm", group=GROUP)
    if not hasattr(cls, "Config"):
        raise UserError(f"'{name}' is no algorithm: no class with its settings as Config")
    return Entry(f"{cls.__module__}:{cls.__qualname__}")
