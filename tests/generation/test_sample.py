"""Sampling: exact frequencies, what is forbidden stays forbidden, and sentences end as they should."""

import math

import pytest
import torch
from helpers import GENERATOR_KINDS, chi_square
from helpers import generator as fresh

from seqgen.core.errors import UserError
from seqgen.data.tokenizer import BOS, EOS, PAD
from seqgen.functional import vocab_projection
from seqgen.generation import categorical
from seqgen.generation.categorical import (
    COLDEST,
    HOTTEST,
    _block_width,
    _draw_two_level,
    draw,
    sums_of_blocks,
)
from seqgen.generation.sample import log_prob, sample
from seqgen.models.base import Generator, evaluating
from seqgen.models.vocab_head import NEVER

V, H = 97, 5
both = pytest.mark.usefixtures("shapes")
DRAWS = 1_000_000
FEWER = 100_000


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def head(skew: float = 1.0, vocab_size: int = V):
    """One state and a head whose distribution over the vocabulary gets more uneven with skew."""
    hidden = torch.randn(1, H, generator=rng(1))
    weight = torch.randn(vocab_size, H, generator=rng(2)) * skew
    return hidden, weight, torch.randn(vocab_size, generator=rng(3))


def probabilities(hidden, weight, bias, temperature=1.0) -> torch.Tensor:
    return torch.softmax((hidden.double() @ weight.double().t() + bias.double())[0] / temperature, dim=-1)


@pytest.mark.parametrize(("vocab_size", "narrow"), [(2, 64), (97, 64), (1009, 64), (97, 0)])
@pytest.mark.parametrize("skew", [0.1, 6.0])
def test_frequencies_are_the_softmax(vocab_size, narrow, skew, monkeypatch):
    monkeypatch.setattr(vocab_projection, "NARROW", narrow)
    parts = head(skew, vocab_size)
    tokens, log_probs = draw(*parts, count=DRAWS, rng=rng())
    probs = probabilities(*parts)
    assert chi_square(tokens, probs) > 1e-4
    torch.testing.assert_close(log_probs, probs.log().float()[tokens], rtol=1e-4, atol=1e-4)


def test_rows_have_their_own_distributions(monkeypatch):
    monkeypatch.setattr(categorical, "chunk_rows", lambda vocab_size, device: 7)
    hidden, weight, bias = torch.randn(3, H, generator=rng(1)), *head()[1:]
    tokens, log_probs = draw(hidden.repeat(20_000, 1), weight, bias, rng=rng())
    assert tokens.shape == log_probs.shape == (60_000,)
    for row in range(3):
        assert chi_square(tokens[row::3], probabilities(hidden[row : row + 1], weight, bias)) > 1e-4


def test_chunks_and_onednn_change_nothing(monkeypatch):
    hidden, weight, bias = torch.randn(31, H, generator=rng(1)), *head()[1:]
    expected = draw(hidden, weight, bias, rng=rng())
    monkeypatch.setattr(categorical, "chunk_rows", lambda vocab_size, device: 4)
    torch.testing.assert_close(draw(hidden, weight, bias, rng=rng()), expected, rtol=1e-5, atol=1e-5)
    monkeypatch.setattr(vocab_projection, "NARROW", 0)
    torch.testing.assert_close(draw(hidden, weight, bias, rng=rng()), expected, rtol=1e-5, atol=1e-5)
    monkeypatch.setattr(vocab_projection, "_has_onednn", lambda: False)
    torch.testing.assert_close(draw(hidden, weight, bias, rng=rng()), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_temperature_divides_logits(temperature):
    parts = head()
    tokens, log_probs = draw(*parts, count=FEWER, temperature=temperature, rng=rng())
    probs = probabilities(*parts, temperature)
    assert chi_square(tokens, probs) > 1e-4
    torch.testing.assert_close(log_probs, probs.log().float()[tokens], rtol=1e-4, atol=1e-4)


def test_temperature_to_zero_is_argmax():
    hidden, weight, bias = torch.randn(31, H, generator=rng(1)), *head()[1:]
    best = (hidden @ weight.t() + bias).argmax(dim=-1)
    zero, log_probs = draw(hidden, weight, bias, temperature=0)
    assert torch.equal(zero, best)
    assert (log_probs == 0).all()
    assert torch.equal(draw(hidden, weight, bias, temperature=1e-4)[0], best)
    assert draw(hidden, weight, bias, temperature=0, count=3)[0].shape == (31, 3)


@pytest.mark.parametrize("how", [{}, {"top_k": 90}, {"top_p": 0.999}, {"min_p": 1e-9}], ids=str)
def test_the_forbidden_is_never_drawn(how):
    hidden, weight, bias = head(0.1)
    bias[:50] = -1e4
    bias[-1] = -1e4
    tokens, log_probs = draw(hidden, weight, bias, count=DRAWS, forbid=[60, 61, 95], rng=rng(), **how)
    assert int(tokens.min()) >= 50
    assert int(tokens.max()) < V - 1
    assert not torch.isin(tokens, torch.tensor([60, 61, 95])).any()
    assert torch.isfinite(log_probs).all()


@pytest.mark.parametrize("number", [0.0, 1 - 2**-24, 0.5], ids=["0", "almost 1", "1/2"])
def test_extreme_uniform_numbers_land_on_likely_tokens(number, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *shape, **_: torch.full(shape, number))
    for vocab_size in range(2, 130):
        hidden, weight, bias = head(1.0, vocab_size)
        bias[0] = bias[-1] = -1e4
        bias[vocab_size // 2 :: 3] = -1e4
        if vocab_size > 3:
            token = int(draw(hidden, weight, bias)[0])
            assert bias[token] > -1e4


@pytest.mark.parametrize("vocab_size", [90, 97])
def test_aims_at_the_very_ends_of_blocks_land_on_likely_tokens(vocab_size):
    # Sums of a block made in two ways differ by rounding: aim at each block's first and last float.
    width = _block_width(vocab_size)
    bits = torch.randn(3000, vocab_size, generator=rng())
    for place in (0, 1, -1, -2):  # impossible tokens at both ends of every block
        bits[:, place % width :: width] = -math.inf
    bits[:, -1] = -math.inf
    sums = sums_of_blocks(bits.exp2())
    ends = sums.cumsum(dim=1) / sums.cumsum(dim=1)[:, -1:]
    uniform = torch.cat((ends - sums / ends[:, -1:], ends[:, :-1], ends * (1 - 2**-23)), dim=1)
    uniform = uniform.clamp(0, 1 - 2**-24)
    tokens, log_probs = _draw_two_level(lambda states, shifted: bits.clone(), bits[:, :1], uniform)
    assert (tokens >= 0).all()
    assert (tokens < vocab_size).all()
    assert torch.isfinite(bits.gather(1, tokens)).all()
    assert torch.isfinite(log_probs).all()


def test_logits_beyond_the_range_of_exp():
    hidden, weight, bias = head()
    for shift in (-500.0, 500.0):
        tokens, log_probs = draw(hidden, weight, bias + shift, count=FEWER, rng=rng())
        assert chi_square(tokens, probabilities(hidden, weight, bias + shift)) > 1e-4
        torch.testing.assert_close(
            log_probs, probabilities(hidden, weight, bias).log().float()[tokens], rtol=1e-3, atol=1e-3
        )


def test_top_k_by_hand():
    # p = (.1, .2, .3, .4): the best two are 3 and 2, with 4/7 and 3/7.
    parts = torch.ones(1, 1), torch.tensor([0.1, 0.2, 0.3, 0.4]).log()[:, None], torch.zeros(4)
    tokens, log_probs = draw(*parts, count=FEWER, top_k=2, rng=rng())
    assert chi_square(tokens, torch.tensor([0, 0, 3 / 7, 4 / 7])) > 1e-4
    torch.testing.assert_close(log_probs, torch.where(tokens == 3, math.log(4 / 7), math.log(3 / 7)))


def test_top_p_by_hand():
    # .4 alone is below .5 and .4 + .3 is not: two remain; with top_k 3 they are (4, 3, 2)/9 and two remain.
    parts = torch.ones(1, 1), torch.tensor([0.1, 0.2, 0.3, 0.4]).log()[:, None], torch.zeros(4)
    tokens, _ = draw(*parts, count=FEWER, top_p=0.5, rng=rng())
    assert chi_square(tokens, torch.tensor([0, 0, 3 / 7, 4 / 7])) > 1e-4
    tokens, _ = draw(*parts, count=FEWER, top_p=0.75, top_k=3, rng=rng())
    assert chi_square(tokens, torch.tensor([0, 0, 3 / 7, 4 / 7])) > 1e-4
    tokens, _ = draw(*parts, count=FEWER, top_p=0.75, rng=rng())
    assert chi_square(tokens, torch.tensor([0, 2 / 9, 3 / 9, 4 / 9])) > 1e-4
    assert set(draw(*parts, count=100, top_p=1e-9, rng=rng())[0][0].tolist()) == {3}


@pytest.mark.parametrize("on_host", [True, False])
@pytest.mark.parametrize("top_p", [1e-9, 0.3, 0.9, 1.0])
def test_a_nucleus_is_the_smallest_set_of_the_likeliest(top_p, on_host, monkeypatch):
    monkeypatch.setattr(categorical, "is_host", lambda device: on_host)
    counts = torch.randint(0, 7, (53, V), generator=rng(1)).double()  # many are equal, some are 0
    counts[:, 3] = 11
    probs = counts / counts.sum(dim=1, keepdim=True)
    found = categorical.nucleus(probs, top_p)
    for row, kept, own in zip(counts.tolist(), found.tolist(), probs, strict=True):
        order = sorted(range(V), key=lambda i, row=row: -row[i])  # stable: the first of equal ones
        mass = own[order].cumsum(dim=0)
        size = min(int((mass < top_p - 1e-12).sum()) + 1, sum(count > 0 for count in row))
        assert [i for i in range(V) if kept[i] and row[i]] == sorted(order[:size])
    distinct = torch.softmax(torch.randn(5, V, generator=rng(2), dtype=torch.float64), dim=1)
    assert not torch.equal(categorical.nucleus(distinct, 0.5), torch.ones(5, V, dtype=torch.bool))
    mass = torch.where(categorical.nucleus(distinct, 0.5), distinct, 0.0)
    assert (mass.sum(dim=1) >= 0.5).all()
    assert (mass.sum(dim=1) - mass.masked_fill(mass == 0, 9.0).amin(dim=1) < 0.5).all()


def test_min_p_by_hand():
    # Half of the likeliest one's .4 is .2: three remain, and of them top-p .75 leaves two.
    parts = torch.ones(1, 1), torch.tensor([0.1, 0.2001, 0.3, 0.4]).log()[:, None], torch.zeros(4)
    tokens, log_probs = draw(*parts, count=FEWER, min_p=0.5, rng=rng())
    expected = torch.tensor([0, 0.2001, 0.3, 0.4]) / 0.9001
    assert chi_square(tokens, expected) > 1e-4
    torch.testing.assert_close(log_probs, expected.log()[tokens])
    tokens, _ = draw(*parts, count=FEWER, min_p=0.5, top_p=0.75, rng=rng())
    assert chi_square(tokens, torch.tensor([0, 0, 3 / 7, 4 / 7])) > 1e-4
    tokens, _ = draw(*parts, count=FEWER, min_p=0.1, top_k=2, rng=rng())
    assert chi_square(tokens, torch.tensor([0, 0, 3 / 7, 4 / 7])) > 1e-4
    assert set(draw(*parts, count=100, min_p=1.0, rng=rng())[0][0].tolist()) == {3}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"min_p": 0.0}, r"min_p is 0.0; it must be in \(0, 1\]"),
        ({"top_k": 0}, "top_k is 0; it must be at least 1"),
        ({"top_p": 0.0}, r"top_p is 0.0; it must be in \(0, 1\]"),
        ({"top_p": 1.5}, "top_p is 1.5"),
        ({"temperature": -1.0}, "temperature is -1.0; it must be 0"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": 1e-38}, "temperature is 1e-38; it must be 0, which is greedy, or from 1e-06 to 100"),
        ({"temperature": 1e5}, "temperature is 100000.0; it must be 0"),
    ],
)
def test_impossible_settings(how, message):
    with pytest.raises(UserError, match=message):
        draw(*head(), **how)


def test_the_coldest_and_the_hottest_temperature():
    hidden, weight, bias = head()
    best = draw(hidden, weight, bias, temperature=0.0)[0]
    assert torch.equal(draw(hidden, weight, bias, temperature=COLDEST)[0], best)
    forbidden = torch.full((V,), NEVER).index_fill(0, torch.tensor([3, 5]), 0.0)
    drawn, _ = draw(hidden, weight, forbidden, count=1000, temperature=HOTTEST)
    assert set(drawn.flatten().tolist()) == {3, 5}


def test_nothing_left_to_draw():
    hidden, weight, bias = head()
    with pytest.raises(UserError, match="no token can be drawn"):
        draw(hidden, weight, bias, forbid=range(V))
    with pytest.raises(ValueError, match="no token can be drawn"):
        draw(hidden * math.nan, weight, bias)


def test_no_rows_draw_nothing():
    hidden, weight, bias = head()
    tokens, log_probs = draw(hidden[:0], weight, bias, count=3)
    assert tokens.shape == log_probs.shape == (0, 3)


def generator(**options) -> Generator:
    g = fresh(vocab_size=23, **options)
    with torch.no_grad():
        g.head.offset[EOS] = 1.5
    return g


OPTIONS = [
    *({"kind": kind} for kind in GENERATOR_KINDS),
    {"cell": "gru", "layers": 2, "dropout": 0.5},
    {"attention": True, "tied": True},
    {"kind": "transformer", "dropout": 0.5, "tied": True},
]


@both
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_sentences_end_with_eos_then_pad(options):
    g = generator(**options)
    tokens, log_probs = sample(g, 31, 13, rng=rng())
    assert tokens.shape == log_probs.shape == (31, 13)
    ended = (tokens == EOS).cumsum(dim=1) - (tokens == EOS).long() > 0
    assert torch.equal(tokens == PAD, ended)
    assert ((tokens == EOS).sum(dim=1) <= 1).all()
    assert not (tokens == BOS).any()
    assert (log_probs[ended] == 0).all()
    assert 0 < int(ended.any(dim=1).sum()) < 31


@both
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_log_probs_are_the_models(options):
    g = generator(**options)
    tokens, log_probs = sample(g, 31, 13, rng=rng())
    g.eval()
    scored = log_prob(g, tokens)
    torch.testing.assert_close(scored, log_probs, rtol=1e-4, atol=1e-5)
    logits, _ = g(torch.cat((torch.full((31, 1), BOS), tokens[:, :-1]), dim=1), g.initial(31))
    full = torch.log_softmax(logits, dim=-1).gather(2, tokens[..., None])[..., 0]
    torch.testing.assert_close(scored, full.where(tokens != PAD, 0.0).detach(), rtol=1e-4, atol=1e-5)


@both
def test_padding_is_irrelevant_to_log_prob():
    g = generator()
    tokens, _ = sample(g, 5, 13, rng=rng())
    longer = torch.cat((tokens, torch.full((5, 3), PAD)), dim=1)
    torch.testing.assert_close(log_prob(g, longer)[:, :13], log_prob(g, tokens), rtol=1e-5, atol=1e-6)
    assert (log_prob(g, longer)[:, 13:] == 0).all()


def test_first_tokens_follow_the_model():
    g = generator()
    tokens, _ = sample(g, 100_000, 1, rng=rng())
    logits, _ = g(torch.tensor([[BOS]]), g.initial(1))
    assert chi_square(tokens, torch.softmax(logits[0, 0].detach().double(), dim=-1)) > 1e-4


@both
def test_second_tokens_follow_the_model_though_others_ended():
    g = generator()
    tokens, _ = sample(g, 100_000, 2, rng=rng())
    logits, _ = g(torch.tensor([[BOS, 7]]), g.initial(1))
    after = tokens[tokens[:, 0] == 7, 1]
    assert chi_square(after, torch.softmax(logits[0, 1].detach().double(), dim=-1)) > 1e-4


@both
@pytest.mark.parametrize(
    "prompt", [torch.tensor([5, 9]), torch.tensor([[5, 9], [6, 4], [5, 5]])], ids=["P", "B, P"]
)
def test_prompts_are_read_first(prompt):
    g = generator()
    tokens, log_probs = sample(g, 3, 7, prompt=prompt, rng=rng())
    assert torch.equal(tokens[:, :2], prompt.expand(3, 2))
    assert (log_probs[:, :2] == 0).all()
    torch.testing.assert_close(log_probs[:, 2:], log_prob(g, tokens)[:, 2:], rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="the prompt has 2 tokens; length is 2"):
        sample(g, 3, 2, prompt=prompt)


@both
def test_min_length_and_forbid():
    tokens, _ = sample(generator(), 200, 13, min_length=4, forbid=(5, 6), rng=rng())
    assert not (tokens[:, :4] == EOS).any()
    assert (tokens[:, 4] == EOS).any()
    assert not torch.isin(tokens, torch.tensor([5, 6])).any()


@both
def test_initial_state_is_where_it_starts():
    g = generator()
    _, state = g.hidden(torch.tensor([[BOS, 5, 9]]).expand(3, 3), g.initial(3))
    tokens, log_probs = sample(g, 3, 7, state=state, rng=rng())
    torch.testing.assert_close(log_prob(g, tokens, state), log_probs, rtol=1e-4, atol=1e-5)


def test_same_seed_same_sentences():
    one, two = (sample(generator(), 5, 7, rng=rng(4)).tokens for _ in range(2))
    assert torch.equal(one, two)
    assert not torch.equal(one, sample(generator(), 5, 7, rng=rng(5)).tokens)


def test_evaluating_restores_each_mode():
    g = generator(dropout=0.5)
    g.dropout.eval()
    with pytest.raises(IndexError, match="too many"), evaluating(g):
        g.head.bias[0, 0]
    with evaluating(g):
        seen = [any(module.training for module in g.modules()), torch.is_grad_enabled()]
    assert seen == [False, False]
    assert g.training
    assert g.rnn.training
    assert not g.dropout.training
    assert torch.is_grad_enabled()


@pytest.mark.cuda
@pytest.mark.parametrize("how", [{}, {"top_k": 50}, {"top_p": 0.9999999}], ids=str)
def test_cuda_frequencies(how):
    hidden, weight, bias = (part.cuda() for part in head(6.0))
    there = torch.Generator("cuda").manual_seed(0)
    bias[:20] = -1e4
    tokens, _ = draw(hidden, weight, bias, count=FEWER, rng=there, **how)
    assert int(tokens.min()) >= 20
    assert chi_square(tokens.cpu(), probabilities(hidden.cpu(), weight.cpu(), bias.cpu())) > 1e-4


@pytest.mark.cuda
def test_cuda_samples_score_as_they_were_drawn():
    g = generator(attention=True).cuda()
    tokens, log_probs = sample(g, 31, 13, rng=torch.Generator("cuda").manual_seed(0))
    torch.testing.assert_close(log_prob(g, tokens), log_probs, rtol=1e-3, atol=1e-3)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        low, _ = sample(g, 31, 13)
    assert not (low == BOS).any()
