"""Oracles: random language models whose samples are a corpus and whose exact density is known.

The synthetic task of the SeqGAN paper (Yu et al. 2017): an LSTM with parameters drawn from N(0, 1) generates
sentences of a fixed number of tokens, and what a generator learned from them is measured by the LSTM's own
likelihood. `oracle:SPEC` names one, wherever a corpus is named:

    oracle:seqgan                  the paper's own weights, as `seqgen corpora fetch seqgan-oracle` keeps them
    oracle:weights.npz             the same from a file, .npz or the pickle of the paper's code
    oracle:lstm-3                  parameters drawn by seed 3; also gru-3, transformer-3
    oracle:lstm-3,length=40,sentences=50000,seed=7

Options after commas: `length`, tokens of a sentence (20); `sentences` of the corpus, training and validation
(10,000); `seed` of their draw, where it shall not be that of the run; `vocab` and `hidden` of an oracle that
is drawn (5,000 and 32, as in the paper). Token i of an oracle is the word `i` of its corpus and the id
i + 4 of its tokenizer: every token has one, and there is no unknown word. Sentences have no end: their
length says it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from seqgen.core import cache
from seqgen.core.errors import UserError, did_you_mean
from seqgen.corpora import oracle_weights
from seqgen.data.tokenizer import BOS, EOS, SPECIALS, UNK
from seqgen.generation.sample import sample, sentence_log_prob
from seqgen.models.base import Generator, GeneratorConfig

PREFIX = "oracle:"
KINDS = ("lstm", "gru", "transformer")
RECIPE = "seqgan-oracle"
"""The recipe that fetches the paper's weights."""
FIRST = len(SPECIALS)
"""The token id of an oracle's token 0."""
ROWS = 1_000
"""Sentences that are drawn or scored at a time."""
TRANSFORMER_GAIN = 0.4
"""Of the last normalisation: logits of a Transformer then vary like an LSTM's, whose states are below 1."""


@dataclass(frozen=True)
class OracleSpec:
    """What the name of an oracle corpus says."""

    name: str
    """`seqgan`, KIND-SEED, or a file of weights"""
    length: int = 20
    """tokens of a sentence"""
    sentences: int = 10_000
    """sentences of the corpus, training and validation together"""
    seed: int | None = None
    """seed of their draw; that of the run if none"""
    vocab: int = 5_000
    """tokens of an oracle that is drawn"""
    hidden: int = 32
    """its units, and the size of its embedding"""

    def __str__(self) -> str:
        default = OracleSpec(self.name)
        options = ("length", "sentences", "seed", "vocab", "hidden")
        given = [
            f"{key}={getattr(self, key)}" for key in options if getattr(self, key) != getattr(default, key)
        ]
        return PREFIX + ",".join([self.name, *given])


def is_oracle(corpus: str) -> bool:
    """Whether the name of a corpus is that of an oracle."""
    return corpus.startswith(PREFIX)


def parse(corpus: str) -> OracleSpec:
    """Read the name of an oracle corpus; UserError for an unknown kind or option.

    A file is named by its absolute path in what is returned, so that the name holds from any folder.
    """
    name, *options = corpus.removeprefix(PREFIX).split(",")
    values: dict[str, int] = {}
    allowed = {
        "length": (1, 1_000),
        "sentences": (3, 10_000_000),
        "seed": (0, 2**31 - 1),
        "vocab": (2, 1_000_000),
        "hidden": (1, 10_000),
    }
    for option in options:
        key, equals, value = option.partition("=")
        if not equals or key not in allowed:
            raise UserError(
                f"no option '{option}' of an oracle{did_you_mean(key, allowed)}; write key=number"
            )
        least, most = allowed[key]
        if not value.isdecimal() or len(value) > 10 or not least <= int(value) <= most:
            raise UserError(
                f"the oracle's {key} is '{value[:20]}'; it must be a whole number from {least} to {most:,}"
            )
        values[key] = int(value)
    kind, dash, seed = name.rpartition("-")
    if name != "seqgan" and not (dash and kind in KINDS and seed.isdecimal()):
        path = Path(name)
        if not path.suffix and not path.is_file():
            raise UserError(
                f"no oracle '{name}'; give seqgan, one drawn by a seed, as lstm-0, gru-0 or transformer-0, "
                "or a file of weights (.npz or the paper's .pkl)"
            )
        name = str(path.resolve())
    return OracleSpec(name, **values)


class Oracle:
    """A generator that is the true distribution: its samples, its exact log-probability, its entropy."""

    def __init__(self, spec: OracleSpec, generator: Generator) -> None:
        self.spec = spec
        self.generator = generator.eval().requires_grad_(False)
        self.generator.head.rule_out((EOS, UNK))

    @property
    def name(self) -> str:
        """The name of the corpus of this oracle."""
        return str(self.spec)

    @property
    def vocab(self) -> int:
        """Tokens of the oracle, without the special ones of its tokenizer."""
        return self.generator.vocab_size - FIRST

    def sample(self, n: int, *, seed: int, temperature: float = 1.0) -> Tensor:
        """Draw n sentences by a seed, on the oracle's device; ids of its tokenizer, (n, T)."""
        rng = torch.Generator(self.generator.head.weight.device).manual_seed(seed)
        sizes = [min(ROWS, n - first) for first in range(0, n, ROWS)]
        parts = [
            sample(self.generator, size, self.spec.length, temperature=temperature, rng=rng).tokens
            for size in sizes
        ]
        return torch.cat(parts)

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        """Return log p of sentences of T tokens, in nats; (N, T) → (N,), float64."""
        device = self.generator.head.weight.device
        parts = [sentence_log_prob(self.generator, part.to(device)) for part in tokens.split(ROWS)]
        return torch.cat(parts).cpu()


def load(corpus: str | OracleSpec) -> Oracle:
    """Return the oracle that a corpus's name says; UserError where its weights are missing or damaged."""
    spec = parse(corpus) if isinstance(corpus, str) else corpus
    kind, _, seed = spec.name.rpartition("-")
    if kind in KINDS:
        return Oracle(spec, draw(kind, int(seed), vocab=spec.vocab, hidden=spec.hidden))
    path = Path(spec.name)
    if spec.name == "seqgan":
        path = cache.folder() / "data" / RECIPE / "seqgan_oracle_lstm.npz"
        if not path.is_file():
            raise UserError(
                f"the weights of the SeqGAN oracle are not at '{path}'; run 'seqgen corpora fetch {RECIPE}', "
                "or name their file as in oracle:weights.npz"
            )
    default = OracleSpec("")
    if (spec.vocab, spec.hidden) != (default.vocab, default.hidden):
        raise UserError(f"'{path}' has its own vocab and hidden; leave these options out")
    return Oracle(spec, from_weights(oracle_weights.read(path)))


def from_weights(arrays: oracle_weights.Arrays) -> Generator:
    """Build the generator of an LSTM oracle; the start token is the oracle's token 0, the state zero."""
    weights = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    vocab, embedding = weights["embedding"].shape
    hidden = len(weights["bias"]) // 4
    generator = _build("lstm", vocab, embedding, hidden)
    with torch.no_grad():
        _fill_words(generator, weights["embedding"], weights["output_weight"].T, weights["output_bias"])
    state = generator.state_dict()
    state["rnn.weight_ih_l0"], state["rnn.weight_hh_l0"] = weights["weight_ih"], weights["weight_hh"]
    state["rnn.bias_ih_l0"], state["rnn.bias_hh_l0"] = weights["bias"], torch.zeros(4 * hidden)
    generator.load_state_dict(state)
    return generator


def draw(kind: str, seed: int, *, vocab: int, hidden: int) -> Generator:
    """Draw an oracle: every weight and bias from N(0, 1) by a seed, in the order of the parameters' names.

    A recurrent layer has one bias, as the paper's. A Transformer's normalisations are not drawn: they keep
    gain 1 and shift 0, except that the last has gain 0.4, for the entropy to be near that of an LSTM.
    """
    generator = _build(kind, vocab, hidden, hidden)
    rng = torch.Generator().manual_seed(seed)
    normal: Callable[..., Tensor] = lambda *shape: torch.randn(*shape, generator=rng)  # noqa: E731
    with torch.no_grad():
        for name, parameter in sorted(generator.named_parameters()):
            if name.startswith(("embedding.", "head.")):
                continue
            if "norm" in name:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            elif "bias_hh" in name:
                parameter.zero_()
            else:
                # A Transformer's layers add up what they read: sums of H terms keep the variance of one.
                scale = 1.0 if kind != "transformer" or parameter.dim() < 2 else parameter.shape[1] ** -0.5
                parameter.copy_(scale * normal(*parameter.shape))
        if kind == "transformer":
            generator.get_parameter("norm.weight").fill_(TRANSFORMER_GAIN)
        _fill_words(generator, normal(vocab, hidden), normal(vocab, hidden), normal(vocab))
    return generator


def _build(kind: str, vocab: int, embedding: int, hidden: int) -> Generator:
    if kind == "transformer":
        heads = next(each for each in (4, 2, 1) if not hidden % (2 * each) or each == 1)
        config = GeneratorConfig.of_kind("transformer")(
            embedding=embedding,
            dropout=0.0,
            hidden=hidden,  # type: ignore[call-arg]
            heads=heads,
        )
    else:
        config = GeneratorConfig.of_kind("rnn")(
            embedding=embedding,
            dropout=0.0,
            hidden=hidden,  # type: ignore[call-arg]
            cell=kind,
        )
    return config.build(vocab + FIRST)


def _fill_words(generator: Generator, embedding: Tensor, output: Tensor, bias: Tensor) -> None:
    """Set the rows of the oracle's tokens, (V, E), (V, H), (V,); BOS is read as its token 0."""
    generator.embedding.weight.zero_()
    generator.embedding.weight[FIRST:] = embedding
    generator.embedding.weight[BOS] = embedding[0]
    generator.head.weight.zero_()
    generator.head.weight[FIRST:] = output
    generator.head.offset.zero_()
    generator.head.offset[FIRST:] = bias


def with_seed(spec: OracleSpec, seed: int) -> OracleSpec:
    """Return a corpus's name with the seed of the draw filled in."""
    return spec if spec.seed is not None else replace(spec, seed=seed)
