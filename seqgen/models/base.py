"""The generator's interface: what losses, sampling and rollouts ask of an autoregressive model.

A kind of generator is a subclass of `Generator` with its own `GeneratorConfig`, a line in `KINDS`, and two
methods: `first_state` and `read`. The embedding, the latent vector that joins the input of every step and
what the vocabulary head reads, dropout and that head stand here, once. Nothing outside this folder names a
concrete class: a generator is built by `GeneratorConfig.build`.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.core import distributed, plugins, settings
from seqgen.core.errors import UserError
from seqgen.functional.dropout import Dropout
from seqgen.models.state import State
from seqgen.models.vocab_head import NEVER, VocabHead, ruled_out

KINDS = {
    "rnn": "seqgen.models.rnn_generator:RNNConfig",
    "transformer": "seqgen.models.transformer_generator:TransformerConfig",
    "relational-memory": "seqgen.models.relational_memory:RelationalMemoryConfig",
}
"""Every kind of generator by the setting `generator.kind`."""


@dataclass(frozen=True)
class GeneratorConfig:
    """The settings of every kind of generator; a kind's own class adds its fields."""

    generator_class: ClassVar[str]
    """`module:Class` of the generator that the settings describe."""
    most_dropout: ClassVar[float] = 0.36
    """What the default rises to, in many passes over a short text (`seqgen.algorithms.regularisation`)."""

    kind: str = "rnn"
    """rnn, transformer or relational-memory; each has settings of its own"""
    embedding: int = 256
    """size of a token's embedding"""
    dropout: float | None = None
    """fraction dropped of embeddings, between layers and of what the vocabulary head reads; none: by how
    often training has the parameters fit each token, 0 in the first passes to 0.36"""
    tied: bool = False
    """one matrix for the embedding and the vocabulary head (Press & Wolf 2017)"""
    latent_skip: bool | None = None
    """a linear map of the latent vector is added to what the vocabulary head reads (Dieng et al. 2019); none:
    in a sentence-vae"""

    def __post_init__(self) -> None:
        settings.bounds(self, embedding=(1, None), dropout=(0.0, 0.99))

    @classmethod
    def of_kind(cls, kind: str) -> type["GeneratorConfig"]:
        """Return the settings' class of a kind; UserError with the nearest name where there is none."""
        found = plugins.resolve(kind, KINDS, "kind of generator")
        if not (isinstance(found, type) and issubclass(found, GeneratorConfig)):
            raise UserError(f"'{kind}' is no kind of generator: no subclass of GeneratorConfig")
        return found

    def build(self, vocab_size: int, *, latent_dim: int = 0) -> "Generator":
        """Return a fresh generator; a decoder of latent vectors (B, latent_dim) where that is above 0.

        UserError where the dropout was left to a corpus that is not known, or where a latent vector that is
        not there is to be added to what the head reads.
        """
        if self.dropout is None:
            raise UserError("generator.dropout is not set and there is no corpus to set it by; give a number")
        if self.latent_skip and not latent_dim:
            raise UserError(
                "generator.latent_skip=true adds a latent vector to what the head reads, and this algorithm "
                "has none; leave it out, or train sentence-vae or autoencoder"
            )
        values = settings.to_dict(self)
        del values["kind"], values["latent_skip"]
        built = plugins.import_name(self.generator_class)(vocab_size, latent_dim=latent_dim, **values)
        if self.latent_skip:
            built.add_latent_skip()
        return built


class Generator(nn.Module):
    """An autoregressive model of token sequences: embedding → layers of a kind → vocabulary head.

    B sentences, T tokens, E embedding, H what the head reads, Z latent. A kind's constructor calls this one,
    makes its layers and ends with `add_head`. The state is a tuple of tensors whose first dimension is the
    batch; with a latent vector, that is its last part. Dropout is applied to the embeddings, by the kind
    between its layers, and to what the head reads (Zaremba et al. 2014).
    """

    head: VocabHead

    def __init__(self, vocab_size: int, embedding: int, *, dropout: float = 0.0, latent_dim: int = 0) -> None:
        super().__init__()
        self.vocab_size, self.latent_dim = vocab_size, latent_dim
        self.embedding = nn.Embedding(vocab_size, embedding)
        self.dropout = Dropout(dropout)
        self.projection: nn.Linear | None = None
        self.latent_skip: nn.Linear | None = None

    @property
    def input_size(self) -> int:
        """Width of what `read` is given: the embedding and the latent vector beside it."""
        return self.embedding.embedding_dim + self.latent_dim

    def add_head(self, features: int, *, tied: bool) -> None:
        """Add the vocabulary head over what `read` returns, (…, features).

        With `tied` the embedding is its matrix, behind a projection where the sizes differ.
        """
        self.feature_size = features
        if not tied:
            self.head = VocabHead(features, self.vocab_size)
            return
        embedding = self.embedding.embedding_dim
        if embedding != features:
            self.projection = nn.Linear(features, embedding)
        self.head = VocabHead(embedding, self.vocab_size, weight=self.embedding.weight)
        # N(0, 1) embeddings would make logits of standard deviation √E.
        nn.init.normal_(self.embedding.weight, std=embedding**-0.5)

    def add_latent_skip(self) -> None:
        """Add a linear map of the latent vector to what `read` returns (Dieng et al. 2019, arXiv:1807.04863).

        Called after `add_head`. What a latent vector says of words then reaches the head by one step, from
        the first update on, and not only through states that have to learn to pass it on.
        """
        self.latent_skip = nn.Linear(self.latent_dim, self.feature_size)

    @abstractmethod
    def first_state(self, batch: int, latent: Tensor | None) -> State:
        """Return the kind's own state before any token, for `batch` rows; latent (B, Z) or None."""

    @abstractmethod
    def read(self, inputs: Tensor, state: State) -> tuple[Tensor, State]:
        """Read T inputs (B, T, E + Z) after a state; → features after each (B, T, F), the state after all.

        Reading T inputs at once equals reading them one by one.
        """

    def latent_layers(self) -> list[tuple[Tensor, Tensor]]:
        """Return (weight, bias) of every linear map whose last Z input columns are the latent vector."""
        own = self.own_latent_layers()
        return own if self.latent_skip is None else [*own, (self.latent_skip.weight, self.latent_skip.bias)]

    def own_latent_layers(self) -> list[tuple[Tensor, Tensor]]:
        """Return those of the kind's own layers."""
        raise TypeError(f"{type(self).__name__} does not say which of its layers read the latent vector")

    def initial(self, batch: int, condition: Tensor | None = None) -> State:
        """Return the state before any token, for `batch` rows, on the device and in the type of the weights.

        condition: latent vectors (B, Z) of a generator that has them; drawn from N(0, I) by torch's global
        generator where not given.
        """
        if not self.latent_dim:
            return self.first_state(batch, None)
        weight = self.head.weight
        if condition is None:
            condition = distributed.randn(batch, self.latent_dim, device=weight.device).to(weight.dtype)
        return (*self.first_state(batch, condition), condition)

    def features(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read T tokens by the kind's layers; ids (B, T) or soft one-hots (B, T, V) → (B, T, F), State."""
        weight = self.embedding.weight
        inputs = tokens @ weight if tokens.is_floating_point() else F.embedding(tokens, weight)
        if self.training:
            inputs = self.dropout(inputs)
        if not self.latent_dim:
            return self.read(inputs, state)
        *own, latent = state
        inputs = torch.cat((inputs, latent[:, None].expand(-1, inputs.shape[1], -1)), dim=-1)
        features, after = self.read(inputs, tuple(own))
        if self.latent_skip is not None:
            features = features + self.latent_skip(latent)[:, None]
        return features, (*after, latent)

    def representations(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Return what `hidden` does, before the dropout of what the head reads."""
        features, after = self.features(tokens, state)
        if self.projection is not None:
            features = self.projection(features)
        return features * self.head.scale, after

    def hidden(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read T tokens; return what the head reads after each, and the state after the last.

        tokens: ids (B, T), or soft one-hots (B, T, V) that mix embeddings; → (B, T, H), State.
        """
        states, after = self.representations(tokens, state)
        return self.dropout(states) if self.training else states, after

    def forward(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read T tokens, ids (B, T) or soft one-hots (B, T, V); → logits (B, T, V), State."""
        states, after = self.hidden(tokens, state)
        return self.head(states), after

    def bias(self, forbid: Sequence[int] = ()) -> Tensor:
        """Return the head's bias under which the tokens `forbid` are never generated; (V,)."""
        return ruled_out(self.head.bias, forbid, NEVER)

    def without_dropout(self) -> AbstractContextManager[None]:
        """Switch dropout off but keep gradients: a policy gradient is that of the policy that was sampled."""
        return without_dropout(self)


@contextmanager
def without_dropout(module: nn.Module) -> Iterator[None]:
    """Switch dropout off (eval mode) but keep gradients inside; restore the mode after.

    cuDNN's recurrent layers have a backward pass in training mode only, so they stay in it with their own
    dropout at 0.
    """
    training = module.training
    layers = [each for each in module.modules() if isinstance(each, nn.RNNBase)]
    dropouts = [layer.dropout for layer in layers]
    module.eval()
    for layer in layers:
        layer.train()
        layer.dropout = 0.0
    try:
        yield
    finally:
        for layer, dropout in zip(layers, dropouts, strict=True):
            layer.dropout = dropout
        module.train(training)


@contextmanager
def evaluating(module: object) -> Iterator[None]:
    """Switch dropout off (eval mode) and gradients off inside; restore each module's own mode after."""
    modules = [m for m in module.modules() if m.training] if isinstance(module, nn.Module) else []
    for m in modules:
        m.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for m in modules:
            m.training = True


def state_bytes(model: Any, length: int) -> int:
    """Return the bytes of one row of a model's state after `length` tokens.

    model: a `Generator`, or whatever has `initial` and `read` on token ids. A state grows by equally much
    with each token, or not at all.
    """
    with evaluating(model):
        if isinstance(model, Generator):
            zeros = model.head.weight.new_zeros(1, model.latent_dim)
            before = model.initial(1, zeros if model.latent_dim else None)
            read = model.hidden
        else:
            before, read = model.initial(1), model.read
        _, after = read(torch.zeros(1, 1, dtype=torch.long, device=before[0].device), before)
    start, end = (sum(part.numel() * part.element_size() for part in state) for state in (before, after))
    return start + (end - start) * length
