"""The energy: its parts, its padding, and what it takes over from a generator."""

import pytest
import torch
from helpers import V, padded, sentences
from sklearn.linear_model import LogisticRegression

from seqgen.core.errors import UserError
from seqgen.data.tokenizer import PAD
from seqgen.functional.gan_losses import cross_entropy
from seqgen.models.energy import NETWORKS, EnergyConfig, Read

S, H = 7, 11


def build(network="rnn", **options):
    torch.manual_seed(0)
    config = EnergyConfig(network, linear=True, embedding=5, hidden=12, heads=3, **options)
    energy = config.build(V, S, H).eval()
    with torch.no_grad():  # it starts from 0
        for parameter in energy.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return energy


def inputs(rows=6):
    tokens = sentences(rows)
    rng = torch.Generator().manual_seed(2)
    log_probs = -torch.rand(tokens.shape, generator=rng)
    states, head = torch.randn(*tokens.shape, H, generator=rng), torch.randn(V, H, generator=rng)
    return Read(tokens, log_probs, states, head), torch.randn(rows, S, generator=rng)


@pytest.mark.parametrize("network", ["none", *NETWORKS])
@pytest.mark.parametrize("linear", [True, False])
def test_a_fresh_energy_is_0_for_every_sentence(network, linear):
    if network == "none" and not linear:
        with pytest.raises(UserError, match=r"network=none with energy.linear=false leaves nothing to learn"):
            EnergyConfig(network, linear)
        return
    energy = EnergyConfig(network, linear, embedding=5, states=3, hidden=12, heads=3).build(V, S, H).eval()
    assert energy(*inputs()).tolist() == [0.0] * 6


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("layers", [1, 2])
def test_padding_and_other_sentences_change_nothing(network, layers):
    energy = build(network, layers=layers, states=3)
    read, summaries = inputs()
    together = energy(read, summaries)
    assert together.std() > 1e-3
    longer, width = padded(read.tokens), read.tokens.shape[1]
    filled, states = torch.full(longer.shape, -7.0), torch.full((*longer.shape, H), 9.0)
    filled[:, :width], states[:, :width] = read.log_probs, read.states
    states[longer == PAD] = 9.0
    found = energy(Read(longer, filled, states, read.head), summaries)
    torch.testing.assert_close(found, together, rtol=1e-4, atol=1e-5)
    for i in range(3):
        row = slice(i, i + 1)
        alone = energy(Read(*(part[row] for part in read[:3]), read.head), summaries[row])
        torch.testing.assert_close(alone, together[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_words_their_order_and_their_log_probs_are_read(network):
    energy = build(network)
    (tokens, log_probs, *states), summaries = inputs()
    base = energy(Read(tokens, log_probs, *states), summaries)
    swapped = tokens.clone()
    swapped[:, [0, 1]] = tokens[:, [1, 0]]
    differs = (tokens[:, 0] != tokens[:, 1]) & (tokens[:, 1] != PAD)
    assert ((energy(Read(swapped, log_probs), summaries) - base).abs() > 1e-6)[differs].all()
    changed = log_probs.clone()
    changed[:, 0] -= 1
    assert ((energy(Read(tokens, changed), summaries) - base).abs() > 1e-6).all()


@pytest.mark.parametrize("network", NETWORKS)
def test_states_and_rows_of_the_head_are_read_divided_by_their_deviations(network):
    energy = build(network, states=3)
    read, summaries = inputs()
    base = energy(read, summaries)
    for name in ("states", "head"):
        changed = getattr(read, name) + 1
        assert ((energy(read._replace(**{name: changed}), summaries) - base).abs() > 1e-6).all()
    tokens = torch.tensor([[5, 6, 4], [7, PAD, PAD]]).repeat(251, 1)
    states, head = torch.randn(*tokens.shape, H), torch.randn(V, 1009)
    states[tokens == PAD], head[PAD] = 99.0, 99.0
    energy.standardise_states(Read(tokens, tokens, 4 * states, 3 * head))
    deviations = float(energy.of_states.state_deviation), float(energy.of_states.row_deviation)
    assert deviations == pytest.approx((4, 3), rel=0.05)
    larger = read._replace(states=read.states * deviations[0], head=read.head * deviations[1])
    torch.testing.assert_close(energy(larger, summaries), base, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("network", NETWORKS)
def test_energies_are_the_same_where_padding_is_not_left_out(network, monkeypatch):
    energy = build(network, states=3)
    given = inputs()
    found = energy(*given)
    monkeypatch.setattr("seqgen.models.energy.leaves_out", lambda device: False)
    torch.testing.assert_close(energy(*given), found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("states", [None, 0])
def test_without_states_nothing_of_them_is_kept(states):
    energy = build(states=states)
    assert not energy.reads_states
    assert not [name for name in energy.state_dict() if "state" in name]


def test_the_linear_part_fits_as_logistic_regression_does():
    rng = torch.Generator().manual_seed(4)
    real = torch.randn(307, S, generator=rng) * 3 + 1
    fake = torch.randn(307, S, generator=rng) * 2 - torch.arange(S) / S
    energy = EnergyConfig("none", linear=True).build(V, S, H)
    energy.standardise(torch.cat((real, fake)))
    tokens = torch.full((307, 1), 5)

    def loss():
        logits = [energy(Read(tokens, tokens.float()), part) for part in (real, fake)]
        return cross_entropy(*logits)

    optimizer = torch.optim.LBFGS(energy.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    x = ((torch.cat((real, fake)) - energy.mean) / energy.deviation).numpy()
    y = [1] * 307 + [0] * 307
    fitted = LogisticRegression(C=1e6, max_iter=1000, tol=1e-8).fit(x, y)
    torch.testing.assert_close(
        energy.linear.weight[0].detach(), torch.tensor(fitted.coef_[0]).float(), rtol=1e-2, atol=1e-3
    )


def test_the_embedding_keeps_which_words_of_the_generator_are_alike():
    energy = EnergyConfig(embedding=5).build(V, S, H)
    weight = torch.randn(V, 3, generator=torch.Generator().manual_seed(1))
    energy.take_over_embedding(weight)
    kept = energy.embedding.weight.detach()[:, :3]
    ratio = torch.pdist(kept) / torch.pdist(weight)  # a rotation of three dimensions, and one scale
    torch.testing.assert_close(ratio, torch.full_like(ratio, ratio.mean().item()), rtol=1e-4, atol=0)
    # what it has more of does not hide it
    together = torch.pdist(energy.embedding.weight.detach())
    assert torch.corrcoef(torch.stack((together, torch.pdist(weight))))[0, 1] > 0.9


def test_a_summary_that_is_alike_for_all_is_not_blown_up():
    energy = EnergyConfig("none", linear=True).build(V, S, H)
    summaries = torch.randn(307, S, generator=torch.Generator().manual_seed(1))
    summaries[:, 3] = 0.25
    energy.standardise(summaries)
    assert energy.deviation[3] == 1.0
    assert energy.mean[3] == 0.25
    torch.testing.assert_close(energy.deviation[:3], summaries[:, :3].std(dim=0), rtol=1e-5, atol=0)
