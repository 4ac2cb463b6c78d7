"""Reweighted generators: normaliser, gain and the choice among candidates, against enumeration."""

import math

import pytest
import torch

from seqgen.generation import resampling

PROBS = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
"""g over four sentences."""
ENERGIES = torch.tensor([0.5, -1.0, 1.5, 0.0], dtype=torch.float64)
"""f of each of them."""


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn(n, seed=0):
    return torch.multinomial(PROBS, n, replacement=True, generator=rng(seed))


def test_normaliser_and_effective_sample_size_by_hand():
    energies = torch.tensor([math.log(1.0), math.log(2.0), math.log(3.0)])
    assert resampling.log_normaliser(energies).item() == pytest.approx(math.log(2.0))
    # (1 + 2 + 3)² / (3 · (1 + 4 + 9))
    assert resampling.effective_sample_size(energies) == pytest.approx(36 / 42)
    assert resampling.effective_sample_size(torch.full((5,), 700.0)) == pytest.approx(1.0)


def test_the_gain_is_the_fall_of_the_divergence_and_the_error_covers_it():
    data = torch.tensor([0.3, 0.1, 0.5, 0.1], dtype=torch.float64)
    weights = PROBS * ENERGIES.exp()
    model = weights / weights.sum()
    exact = float((data * (model / PROBS).log()).sum())  # KL(data‖g) - KL(data‖p)
    seen = []
    for seed in range(200):
        on_real = ENERGIES[torch.multinomial(data, 307, replacement=True, generator=rng(seed))]
        found = resampling.gain(on_real, ENERGIES[drawn(401, seed + 1000)])
        seen.append((found.nats - exact) / found.error)
    z = torch.tensor(seen)
    assert abs(z.mean().item()) < 0.3
    assert z.std().item() == pytest.approx(1.0, abs=0.2)


def exactly_chosen(candidates):
    """Enumerate the candidates: the distribution of what is chosen."""
    chosen = torch.zeros(4, dtype=torch.float64)
    for row in torch.cartesian_prod(*[torch.arange(4)] * candidates).view(-1, candidates):
        weight = ENERGIES[row].softmax(dim=0)
        chosen.index_add_(0, row, PROBS[row].prod() * weight)
    return chosen


@pytest.mark.parametrize("candidates", [1, 2, 5])
def test_the_chosen_have_the_distribution_of_the_enumeration(candidates):
    n = 40_000
    rows = drawn(n * candidates).view(n, candidates)
    places = resampling.choose(ENERGIES[rows], rng=rng(1))
    counts = torch.bincount(rows[torch.arange(n), places], minlength=4).double()
    expected = n * exactly_chosen(candidates)
    assert float(((counts - expected).square() / expected).sum()) < 3 + 4 * math.sqrt(6)


@pytest.mark.parametrize("candidates", [1, 2, 5])
def test_their_density_is_that_of_the_enumeration(candidates):
    pool = ENERGIES[drawn(400_000, seed=3)]
    density = PROBS * resampling.log_chosen(ENERGIES, candidates, pool).exp()
    torch.testing.assert_close(density, exactly_chosen(candidates), rtol=1e-2, atol=0)
    assert density.sum().item() == pytest.approx(1.0, abs=5e-3)


def test_many_candidates_come_near_the_reweighted_generator():
    weights = PROBS * ENERGIES.exp()
    found = PROBS * resampling.log_chosen(ENERGIES, 101, ENERGIES[drawn(400_000)]).exp()
    torch.testing.assert_close(found, weights / weights.sum(), rtol=2e-2, atol=0)


def test_a_pool_too_small_is_refused():
    with pytest.raises(ValueError, match="5 candidates need a pool of at least 4 energies"):
        resampling.log_chosen(ENERGIES, 5, ENERGIES[:3])


def test_candidates_of_no_weight_are_not_chosen_and_large_energies_do_not_overflow():
    energies = torch.tensor([[900.0, -900.0, 900.0]]).expand(1001, 3)
    places = resampling.choose(energies, rng=rng())
    assert set(places.tolist()) == {0, 2}


def test_calibration_finds_the_scale_and_the_offset_of_the_logit():
    # N(½, 1) and N(-½, 1) have the log ratio x; here it is doubled and moved by 3.
    x = torch.randn(20_000, 1, generator=rng(), dtype=torch.float64)
    real, fake = 2 * (x + 0.5) + 3, 2 * (x[:9001] - 0.5) + 3
    weights, offset = resampling.calibrate(real, fake, torch.ones(1))
    assert weights.tolist() == pytest.approx([0.5], abs=0.03)
    assert offset == pytest.approx(-1.5, abs=0.1)
    # At the minimum both kinds are found real equally often as they are, each counting for half.
    residue = torch.sigmoid(-(real * weights + offset)).mean() - torch.sigmoid(fake * weights + offset).mean()
    assert float(residue) == pytest.approx(0.0, abs=1e-8)


def test_calibration_of_several_terms_is_logistic_regression():
    # N(±m, 1) with m = (0.5, -0.25) have the log ratio 2 m · x, and the third term says nothing.
    x = torch.randn(2, 30_011, 3, generator=rng(), dtype=torch.float64)
    m = torch.tensor([0.5, -0.25, 0.0], dtype=torch.float64)
    weights, _ = resampling.calibrate(x[0] + m, x[1] - m, torch.tensor([1.0, 0.0, 0.0]))
    assert weights.tolist() == pytest.approx([1.0, -0.5, 0.0], abs=0.04)


def test_few_sentences_leave_the_calibration_near_its_start():
    real, fake = torch.tensor([[0.1, 3.0]]), torch.tensor([[0.0, 1.0]])
    start = torch.tensor([1.0, 0.0])
    weights, _ = resampling.calibrate(real, fake, start)
    deviation = torch.cat((real, fake)).double().std(dim=0)
    assert float(((weights - start) * deviation).norm()) < 1.0
    many = [part.repeat(1000, 1) for part in (real, fake)]
    assert float((resampling.calibrate(*many, start)[0] * deviation).norm()) > 4.0


def test_calibration_of_terms_that_are_alike_or_tell_all():
    one = torch.ones(1)
    weights, offset = resampling.calibrate(torch.full((3, 1), 2.0), torch.full((4, 1), 2.0), one)
    assert weights.tolist() == [1.0]
    assert offset == pytest.approx(0.0, abs=1e-9)
    weights, offset = resampling.calibrate(
        torch.tensor([[90.0], [80.0]]), torch.tensor([[-90.0], [-1.0]]), one
    )
    assert float(weights) == pytest.approx(1.0)  # the start, as nothing more can be had
    assert math.isfinite(offset)


def test_halves_that_calibrate_each_other_are_not_flattered_by_noise():
    noise = torch.randn(2, 41, 7, generator=rng(), dtype=torch.float64)
    start = torch.zeros(7)
    weights, offset = resampling.calibrate(*noise, start)
    own = (torch.nn.functional.softplus(-(noise[0] @ weights + offset)).mean()
           + torch.nn.functional.softplus(noise[1] @ weights + offset).mean()) / 2  # fmt: skip
    assert own < math.log(2) - 0.01
    loss, gain = resampling.cross_calibrated(*noise, start)
    assert loss > math.log(2)
    assert gain.nats < 0
    assert resampling.cross_calibrated(noise[0, :3], noise[1], start) is None


def test_halves_of_sentences_that_differ_by_a_known_ratio():
    x = torch.randn(20_000, 1, generator=rng(), dtype=torch.float64)
    loss, gain = resampling.cross_calibrated(x[:9001] + 0.5, x[9001:] - 0.5, torch.zeros(1))
    assert gain.nats == pytest.approx(0.5, abs=4 * gain.error)  # KL(N(½, 1) ‖ N(-½, 1))
    assert 0.01 < gain.error < 0.03
    exact = torch.nn.functional.softplus(-(x + 0.5)).mean()
    assert loss == pytest.approx(float(exact), abs=0.01)
