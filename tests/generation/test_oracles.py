"""Oracles: densities against a loop in float64, samples against the density, names, published figures."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from seqgen.core.errors import UserError
from seqgen.generation import oracles
from seqgen.generation.oracles import FIRST, Oracle, OracleSpec
from seqgen.metrics import divergences

V, H, T = 11, 5, 3


def small(kind: str = "lstm", seed: int = 2, **options: int) -> Oracle:
    values = {"length": T, "vocab": V, "hidden": H} | options
    return oracles.load(OracleSpec(f"{kind}-{seed}", **values))


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def slow_log_prob(oracle: Oracle, tokens: list[int]) -> float:
    """log p of a sentence of the oracle's tokens by an LSTM written out, in float64; the start is token 0."""
    state = {name: t.double().numpy() for name, t in oracle.generator.state_dict().items()}
    embedding, output = state["embedding.weight"][FIRST:], state["head.weight"][FIRST:]
    h = c = np.zeros(H)
    last, total = 0, 0.0
    for token in tokens:
        gates = state["rnn.weight_ih_l0"] @ embedding[last] + state["rnn.weight_hh_l0"] @ h
        i, f, g, o = np.split(gates + state["rnn.bias_ih_l0"], 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        logits = output @ h + state["head.offset"][FIRST:]
        total += logits[token] - np.log(np.exp(logits).sum())
        last = token
    return total


def test_the_density_is_that_of_a_loop_in_float64():
    oracle = small()
    rows = [[3, 0, 7], [10, 10, 10], [0, 1, 2], [5, 9, 4]]
    found = oracle.log_likelihood(torch.tensor(rows) + FIRST)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx([slow_log_prob(oracle, row) for row in rows], abs=1e-5)


@pytest.mark.parametrize("kind", oracles.KINDS)
def test_the_densities_of_all_sentences_sum_to_one(kind: str):
    oracle = small(kind, hidden=8)
    every = torch.tensor(list(itertools.product(range(V), repeat=T))) + FIRST
    assert float(oracle.log_likelihood(every).exp().sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("kind", oracles.KINDS)
def test_samples_are_distributed_by_the_density(kind: str):
    oracle = small(kind, hidden=8, length=2)
    n = 20_000
    drawn = oracle.sample(n, seed=5) - FIRST
    assert drawn.shape == (n, 2)
    assert int(drawn.min()) >= 0  # no special token
    every = torch.tensor(list(itertools.product(range(V), repeat=2)))
    expected = n * oracle.log_likelihood(every + FIRST).exp()
    counts = torch.bincount(drawn[:, 0] * V + drawn[:, 1], minlength=V * V)
    often = expected > 5
    chi_square = ((counts - expected) ** 2 / expected)[often].sum()
    degrees = int(often.sum())
    assert float(chi_square) < degrees + 4 * math.sqrt(2 * degrees)


def test_a_seed_decides_weights_and_samples():
    assert torch.equal(small().sample(7, seed=1), small().sample(7, seed=1))
    assert not torch.equal(small().sample(7, seed=1), small().sample(7, seed=2))
    assert not torch.equal(small(seed=3).sample(7, seed=1), small().sample(7, seed=1))


def test_the_parameters_are_standard_normal():
    generator = oracles.load("oracle:lstm-7").generator
    for name, values in generator.named_parameters():
        if name == "rnn.bias_hh_l0":
            assert not values.any()
            continue
        real = values[FIRST:] if name.startswith(("embedding", "head")) else values
        spread = 5 / math.sqrt(real.numel())
        assert float(real.mean()) == pytest.approx(0, abs=spread), name
        assert float(real.std()) == pytest.approx(1, abs=spread), name


def test_names():
    spec = oracles.parse("oracle:gru-12,length=40,seed=3")
    assert spec == OracleSpec("gru-12", length=40, seed=3)
    assert oracles.parse(str(spec)) == spec
    assert str(oracles.parse("oracle:seqgan")) == "oracle:seqgan"
    assert oracles.parse("oracle:some/weights.npz").name == str(Path("some/weights.npz").resolve())
    assert oracles.is_oracle("oracle:x")
    assert not oracles.is_oracle("oracle")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("oracle:lstn-3", "no oracle 'lstn-3'; give seqgan, one drawn by a seed"),
        ("oracle:lstm", "no oracle 'lstm'"),
        ("oracle:lstm-3,lenght=4", "no option 'lenght=4' of an oracle; did you mean 'length'"),
        ("oracle:lstm-3,sentences=1000000000", "must be a whole number from 3 to 10,000,000"),
        ("oracle:lstm-3,seed=" + "9" * 5000, "seed is '99999999999999999999'; it must be"),
        ("oracle:lstm-3,length=0", "length is '0'; it must be a whole number from 1 to 1,000"),
        ("oracle:lstm-3,length=x", "length is 'x'"),
        ("oracle:missing.npz", "no file"),
        ("oracle:seqgan", "run 'seqgen corpora fetch seqgan-oracle'"),
    ],
)
def test_errors_are_for_the_user(name: str, message: str):
    with pytest.raises(UserError, match=message):
        oracles.load(name)


def test_the_published_oracle_has_its_published_figures(data_dir: Path):
    name = f"oracle:{data_dir / 'oracle/seqgan_oracle_lstm.npz'}"
    oracle = oracles.load(name)
    entropy, error = divergences.mean(-oracle.log_likelihood(oracle.sample(2_000, seed=1)) / 20)
    assert entropy == pytest.approx(5.7485, abs=4 * error)
    assert error == pytest.approx(0.012, rel=0.2)
    colder = -oracle.log_likelihood(oracle.sample(1_000, seed=2, temperature=0.667)) / 20
    assert float(colder.mean()) == pytest.approx(4.05, abs=0.1)
    uniform = torch.randint(FIRST, 5_000 + FIRST, (1_000, 20), generator=torch.Generator().manual_seed(3))
    assert float(-oracle.log_likelihood(uniform).mean()) / 20 == pytest.approx(11.43, abs=0.05)
    with pytest.raises(UserError, match="has its own vocab and hidden"):
        oracles.load(name + ",vocab=7")
    longer = oracles.load(name + ",length=40")
    entropy, error = divergences.mean(-longer.log_likelihood(longer.sample(1_000, seed=1)) / 40)
    assert entropy == pytest.approx(5.7341, abs=4 * error)
