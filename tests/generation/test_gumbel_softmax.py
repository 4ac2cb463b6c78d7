"""Relaxed sentences: what they hold, that they are draws of the generator, and the gradient by hand."""

import math

import pytest
import torch
from helpers import Z
from helpers import generator as fresh
from torch import nn

from seqgen.data.tokenizer import BOS, EOS, PAD, UNK
from seqgen.generation.gumbel_softmax import annealed, sample_relaxed
from seqgen.generation.sample import log_prob, shifted

V, B, T = 11, 5, 7


both = pytest.mark.usefixtures("shapes")
OTHER_KINDS = [{"kind": "transformer"}, {"kind": "relational-memory"}]


def generator(seed=0, **options):
    made = fresh(vocab_size=V, seed=seed, **({"latent_dim": Z} | options))
    with torch.no_grad():
        made.head.weight.mul_(3)
    return made


def rng(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize(
    "options", [{}, {"cell": "gru", "layers": 2}, {"attention": True}, {"latent_dim": 0}, *OTHER_KINDS]
)
def test_sentences_and_their_vectors_agree(hard, options, shapes):
    soft, tokens = sample_relaxed(generator(**options), 29, T, hard=hard, rng=rng())
    assert soft.shape == (29, tokens.shape[1], V)
    assert torch.equal(soft.argmax(dim=2), tokens)
    torch.testing.assert_close(soft.sum(dim=2), torch.ones(tokens.shape), rtol=0, atol=1e-6)
    ended = (tokens == EOS).int().cumsum(dim=1) - (tokens == EOS).int() > 0
    assert ended.any()
    assert (tokens[ended] == PAD).all()
    assert not ((tokens == PAD) & ~ended).any()
    assert (soft[ended][:, PAD] == 1).all()
    assert not torch.isin(tokens, torch.tensor([BOS])).any()
    assert torch.equal(soft, soft.round()) == hard
    assert (tokens != PAD).any(dim=0).all() or shapes == "in full"  # no longer than its longest sentence


@both
def test_sentences_go_on_from_the_tokens_that_they_begin_with():
    net = generator(latent_dim=0).eval()
    first = torch.tensor([[5, 9], [7, 4]]).repeat(5_000, 1)
    with torch.no_grad():
        soft, tokens = sample_relaxed(net, len(first), 3, first=first, forbid=(UNK,), rng=rng())
        assert torch.equal(tokens[:, :2], first)
        assert torch.equal(soft[:, :2], nn.functional.one_hot(first, V).float())
        for row in (0, 1):
            read = torch.cat((torch.tensor([[BOS]]), first[row : row + 1]), dim=1)
            logits = net(read, net.initial(1))[0][0, -1]
            logits[UNK] = -math.inf
            expected = torch.softmax(logits, dim=0)
            found = torch.bincount(tokens[row::2, 2], minlength=V) / 5_000
            torch.testing.assert_close(found, expected, rtol=0, atol=0.025)


@both
def test_sentences_are_draws_of_the_generator_at_any_temperature():
    # Two tokens long: every sentence's frequency against its probability under the model, by chi-square.
    net, state = generator().eval(), None
    for temperature in (0.3, 2.0):
        latents = torch.ones(1, Z).expand(20_000, -1)
        with torch.no_grad():
            state = net.initial(len(latents), latents)
            tokens = sample_relaxed(
                net, 20_000, 2, temperature=temperature, hard=True, state=state, rng=rng()
            ).tokens
        kinds, counts = torch.unique(tokens, dim=0, return_counts=True)
        expected = (
            20_000 * log_prob(net, kinds, net.initial(len(latents), latents[: len(kinds)])).sum(dim=1).exp()
        )
        often = expected > 20
        statistic = ((counts - expected).square() / expected)[often].sum().item()
        freedom = int(often.sum())
        assert expected.sum().item() == pytest.approx(20_000, rel=1e-2)
        assert statistic < freedom + 4 * math.sqrt(2 * freedom)


def test_what_is_read_step_by_step_is_what_is_read_at_once():
    net = generator().eval()
    seen = []
    head = net.head.forward
    net.head.forward = lambda hidden: seen.append(hidden) or head(hidden)
    latents = torch.randn(B, Z, generator=rng(3))
    tokens = sample_relaxed(net, B, T, hard=True, state=net.initial(len(latents), latents), rng=rng()).tokens
    hidden, _ = net.hidden(shifted(tokens), net.initial(len(latents), latents))
    for t, rows in enumerate(seen):
        torch.testing.assert_close(rows, hidden[:, t][tokens[:, t] != PAD], rtol=1e-5, atol=1e-6)


class Fixed(nn.Module):
    """A generator of one step whose logits are its parameter."""

    def __init__(self, logits):
        super().__init__()
        self.vocab_size = len(logits)
        self.logits = nn.Parameter(torch.tensor(logits))
        self.head = nn.Linear(self.vocab_size, self.vocab_size)
        self.head.never_ends_at = None
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(self.vocab_size))
            self.head.bias.zero_()

    def initial(self, batch):
        return (torch.zeros(batch, 1),)

    def hidden(self, tokens, state):
        return self.logits.expand(len(tokens), 1, -1), state


@both
@pytest.mark.parametrize("hard", [False, True])
def test_the_gradient_by_hand(hard):
    net = Fixed([0.5, -1.0, 0.3, 0.9])
    rewards = torch.tensor([2.0, -1.0, 0.5, 3.0])
    soft = sample_relaxed(net, 1, 1, temperature=0.7, rng=rng(4)).soft[0, 0].detach()
    made = sample_relaxed(net, 1, 1, temperature=0.7, hard=hard, rng=rng(4)).soft
    (gradient,) = torch.autograd.grad((made[0, 0] * rewards).sum(), net.logits)
    # ∂ softmax(x / τ) / ∂x = (diag(y) - y yᵀ) / τ, the same for the one-hot that is shown
    expected = soft * (rewards - (soft * rewards).sum()) / 0.7
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-6)
    noise = torch.empty(1, 4).uniform_(generator=rng(4)).log().neg().log().neg()
    torch.testing.assert_close(soft, torch.softmax((net.logits + noise[0]) / 0.7, 0).detach())


@both
@pytest.mark.parametrize("given", [0, 2])
def test_none_ends_where_the_head_says_that_none_does(given):
    net = generator()
    with torch.no_grad():
        net.head.offset[EOS] = 9.0
    first = torch.full((53, given), 5) if given else None
    ended = sample_relaxed(net, 53, 5, first=first, rng=rng(1)).tokens[:, given] == EOS
    assert ended.float().mean() > 0.9
    net.head.never_ends_at = given
    relaxed = sample_relaxed(net, 53, 5, first=first, rng=rng(1))
    assert not (relaxed.tokens[:, given] == EOS).any()
    assert float(relaxed.soft.detach()[:, given, EOS].max()) == 0
    assert (relaxed.tokens[:, given + 1] == EOS).float().mean() > 0.9


class Echo(Fixed):
    """Its first logits are its parameter, later ones what it reads: only so does the parameter reach them."""

    def hidden(self, tokens, state):
        if not tokens.is_floating_point():
            return super().hidden(tokens, state)
        return tokens * 3, state


@both
@pytest.mark.parametrize("hard", [False, True])
def test_a_gradient_flows_through_what_is_read(hard):
    net = Echo([0.5, -1.0, -50.0, 0.9])  # it does not end with its first token
    soft = sample_relaxed(net, B, 2, hard=hard, rng=rng(5)).soft
    assert soft.shape[1] == 2
    (gradient,) = torch.autograd.grad(soft[:, 1, 0].sum(), net.logits)
    assert gradient.isfinite().all()
    assert gradient.abs().sum() > 1e-3


@both
def test_a_gradient_reaches_every_parameter_and_the_codes():
    net, latents = generator(), torch.randn(B, Z, generator=rng(3)).requires_grad_()
    soft, _ = sample_relaxed(net, B, T, hard=True, state=net.initial(len(latents), latents), rng=rng(5))
    gradients = torch.autograd.grad((soft * torch.arange(V)).sum(), [latents, *net.parameters()])
    assert all(g.isfinite().all() and g.abs().sum() > 0 for g in gradients)


@both
def test_ended_sentences_have_no_gradient_and_move_nobody():
    net = generator()
    soft, tokens = sample_relaxed(net, 29, T, hard=True, rng=rng())
    rewards = torch.randn(soft.shape, generator=rng(2))
    (one,) = torch.autograd.grad((soft * rewards).sum(), net.head.weight, retain_graph=True)
    changed = rewards.where((tokens != PAD)[..., None], 100.0)
    (other,) = torch.autograd.grad((soft * changed).sum(), net.head.weight)
    assert torch.equal(one, other)


@both
def test_low_temperatures_are_hard():
    def share(temperature):
        soft = sample_relaxed(generator(), 29, T, temperature=temperature, rng=rng()).soft
        return soft.amax(dim=2).mean().item()

    assert share(1e-3) > 0.99 > 0.9 > share(5.0)


def test_forbidden_tokens_and_the_shortest_sentences(shapes):
    net = generator()
    soft, tokens = sample_relaxed(net, 200, T, forbid=(UNK, 7), rng=rng())
    assert not torch.isin(tokens, torch.tensor([UNK, 7])).any()
    assert (soft[..., [UNK, 7]] == 0).all()
    with torch.no_grad():
        net.head.offset[EOS] = 50.0
    shortest = [EOS] if shapes == "compacted" else [EOS] + [PAD] * (T - 1)
    assert sample_relaxed(net, B, T, hard=True, rng=rng()).tokens.tolist() == [shortest] * B
    assert sample_relaxed(net, B, 1, rng=rng()).soft.shape == (B, 1, V)


def test_a_temperature_of_zero():
    with pytest.raises(ValueError, match="temperature of a relaxation must be above 0, not 0"):
        sample_relaxed(generator(), B, T, temperature=0.0)


def test_annealing_falls_by_equal_factors():
    # 2 → 0.5 in four steps: √½ each
    temperatures = [annealed(i / 4, start=2.0, end=0.5) for i in range(5)]
    assert temperatures == pytest.approx([2.0, math.sqrt(2), 1.0, math.sqrt(0.5), 0.5])


@pytest.mark.cuda
@pytest.mark.parametrize("hard", [False, True])
def test_relaxed_sentences_on_cuda(hard):
    net = generator(cell="lstm").cuda()
    drawing = torch.Generator("cuda").manual_seed(0)
    soft, tokens = sample_relaxed(net, B, T, hard=hard, rng=drawing)
    assert torch.equal(soft.argmax(dim=2), tokens)
    assert torch.autograd.grad(soft.square().sum(), net.head.weight)[0].isfinite().all()
