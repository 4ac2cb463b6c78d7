"""Rows of discriminators and of loading: the plain networks are ours, and what the figures mean."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seqgen.bench import discriminators, latent, loading
from seqgen.bench.default_step import Text
from seqgen.data.tokenizer import EOS, PAD
from seqgen.generation import summaries
from seqgen.models.energy import Read

NAMES = (*discriminators.SETTINGS, "residual")
VOCAB = 29


def half(seed: int) -> discriminators.Half:
    torch.manual_seed(seed)
    tokens = latent.batch(latent.Sizes(VOCAB, 2, 23, batch=5))
    size = discriminators.state_size()
    states, head = torch.randn(*tokens.shape, size), torch.randn(VOCAB, size)
    return discriminators.Half(tokens, -torch.rand(tokens.shape) * (tokens != PAD), states, head)


def copy_weights(ours: nn.Module, plain: nn.Module) -> None:
    """Give the plain network our weights: layers that read backwards have other names there."""
    left_out = "mean", "deviation", "of_states.state_deviation", "of_states.row_deviation"
    weights = {name: value for name, value in ours.state_dict().items() if name not in left_out}
    weights = {name.removeprefix("of_states."): value for name, value in weights.items()}
    renamed: dict[str, Tensor] = {}
    for name, value in weights.items():
        layer, _, last = name.rpartition(".")
        if layer.endswith("backwards"):
            renamed[f"rnn.{last}_reverse"] = value
        elif layer.endswith(("forwards", "rnn")):
            renamed[f"rnn.{last}"] = value
        elif "convolutions" in layer and last == "weight":
            renamed[name] = value.transpose(1, 2)[:, None]
        else:
            renamed[name] = value
    plain.load_state_dict(renamed)


@pytest.mark.parametrize("name", NAMES)
def test_the_plain_network_is_ours(name: str) -> None:
    torch.manual_seed(0)
    ours, plain = (each.eval() for each in discriminators.networks(name, VOCAB))
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_(std=0.1)
        ours.embedding.weight[PAD] = 0.0
    copy_weights(ours, plain)
    sentences = half(1)
    given = [sentences.tokens]
    if name == "residual":
        read = Read(sentences.tokens, sentences.log_probs, sentences.states, sentences.head)
        given = [read, summaries.summarise(sentences.tokens, sentences.log_probs)]
    rows = slice(0, None)
    if name == "cnn":  # the published one runs over padding: a sentence without any is read alike
        rows = slice(4, 5)
    found, wanted = ours(*given)[rows], plain(sentences)[rows]
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_the_loss_is_that_of_both_halves_by_hand() -> None:
    class First(nn.Module):
        def forward(self, tokens: Tensor) -> Tensor:
            return tokens[:, 0].float()

    nothing = torch.zeros(1, 1)
    real, fake = (discriminators.Half(torch.tensor(ids), *[nothing] * 3) for ids in ([[2]], [[1, 3]]))
    # softplus(-2) + softplus(1) = 0.126928 + 1.313262, halved or summed as `cross_entropy` does
    found = float(discriminators.loss(First(), real, fake))
    assert found == pytest.approx((0.126928 + 1.313262) / 2, abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_plain_step_lowers_its_loss(name: str) -> None:
    torch.manual_seed(0)
    _, plain = discriminators.networks(name, VOCAB)
    real, fake = half(1), half(2)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=1e-3)

    def margin() -> float:
        plain.eval()
        with torch.no_grad():
            of_real, of_fake = (plain(each).mean() for each in (real, fake))
        return float(of_real - of_fake)

    before = margin()
    plain.train()
    for _ in range(7):
        discriminators.plain_step(plain.train(), optimizer, real, fake)
    assert margin() > before + 0.01


def test_a_row_of_each() -> None:
    rows = discriminators.run(torch.device("cpu"), (Text("few", VOCAB, 2, 13),), batch=5, repeats=1)
    assert [row.task for row in rows] == [f"discriminator {name}, few" for name in NAMES]
    assert all(row.work == 10 and row.floor is not None and row.floor > 0 for row in rows)


class Ticks:
    """A clock that advances by one second a look."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_rows_of_loading_leave_the_share_of_batches() -> None:
    rows = loading.run(torch.device("cpu"), (70, 130), repeats=1, clock=Ticks())
    assert [row.task for row in rows] == ["step with its batch, scenes", "step with its batch, 130 lines"]
    # Every run takes a second: 10 steps, .1 each; 100 batches, .01 each.
    assert [row.fraction_of_floor for row in rows] == pytest.approx([0.9, 0.9])


def test_the_plain_loader_yields_every_sentence_padded() -> None:
    ids = loading.random_text(71, vocab=VOCAB, shortest=3, longest=11)
    batches = loading.plain_batches(ids)
    torch.manual_seed(0)
    found = [row[row != PAD].tolist() for _ in range(2) for row in next(batches)]
    assert sorted(found) == sorted(ids[i].tolist() for i in range(71))
    assert ids.lengths().min() >= 3
    assert ids.lengths().max() <= 11
    assert all(row[-1] == EOS and EOS not in row[:-1] for row in found)
    assert np.unique(ids.tokens).max() < VOCAB
