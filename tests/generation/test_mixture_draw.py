"""Draws from the n-gram mixture: frequencies, forbidden tokens, likelihoods, steps and graphs."""

import math

import numpy as np
import pytest
import torch
from helpers import GENERATOR_KINDS, OneDevice, chi_square, sentences
from helpers import generator as fresh

from seqgen.core.errors import UserError
from seqgen.data.tokenizer import BOS, EOS, PAD, UNK
from seqgen.generation import mixture_draw
from seqgen.generation.categorical import Truncation
from seqgen.generation.contrastive_search import ContrastiveSearch
from seqgen.generation.likelihood import generator_likelihood
from seqgen.generation.mixture_draw import log_distribution, mixture_drawer, numbers_of_a_draw
from seqgen.generation.sample import log_prob, reading, sample, sentence_log_prob, started
from seqgen.models.ngram_mixture import NGramMixture
from seqgen.models.state import branch, repeat, select
from seqgen.models.vocab_head import NEVER, VocabHead

V, H, ORDER, LENGTH = 31, 5, 4, 7
DRAWS = 200_000


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def mixture(hidden: int = H, *, order: int = ORDER, dtype: torch.dtype = torch.float32) -> NGramMixture:
    """A mixture of skewed sentences, in which UNK and EOS are likely after some prefixes."""
    made = NGramMixture(hidden, order).to(dtype)
    random = np.random.default_rng(7)
    lines = [(2 + random.geometric(0.2, size=random.integers(1, 7))).clip(max=V - 3) for _ in range(97)]
    made.count(np.concatenate([[BOS, *line, EOS] for line in lines]), V)
    made.gate_weight.copy_(torch.linspace(-0.7, 0.5, hidden))
    made.gate_bias.fill_(0.2)
    made.is_used = True
    return made


def head(dtype: torch.dtype = torch.float32) -> VocabHead:
    made = VocabHead(H, V).to(dtype)
    with torch.no_grad():
        made.weight.copy_(torch.randn(V, H, generator=rng(2)) * 0.7)
        made.offset.copy_(torch.randn(V, generator=rng(3)))
    return made


def contexts_of(made: NGramMixture, prefixes: list[list[int]]) -> torch.Tensor:
    tables = made.tables
    return torch.cat(
        [tables.read(torch.tensor([[BOS, *prefix]]), tables.begin(1))[:, -1] for prefix in prefixes]
    )


PREFIXES: list[list[int]] = [[], [4, 4], [5, 3, 4], [27, 26], [3]]
"""Of the text and not; a row of draws each."""


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"forbid": (UNK,)},
        {"forbid": (EOS, 4, UNK, 6)},
        {"temperature": 0.6},
        {"temperature": 1.7, "forbid": (EOS, UNK)},
        {"top_k": 6},
        {"top_p": 0.8, "forbid": (UNK,)},
        {"min_p": 0.02, "forbid": (UNK,)},
    ],
    ids=str,
)
def test_frequencies_and_log_probabilities_are_those_of_the_mixture(how):
    how, made, top = dict(how), mixture(), head()
    hidden = torch.randn(len(PREFIXES), H, generator=rng(1))
    contexts = contexts_of(made, PREFIXES)
    exact = mixture(dtype=torch.float64)
    wide = head(torch.float64)
    wide.load_state_dict(top.state_dict())
    logs = log_distribution(hidden.double(), contexts, wide.weight, wide.bias, exact).detach()
    logs[:, list(how.get("forbid", ()))] = -math.inf
    probs = torch.softmax(logs / how.get("temperature", 1.0), dim=-1)
    if "top_k" in how:
        probs[probs < probs.topk(how["top_k"], dim=1).values[:, -1:]] = 0
    if "min_p" in how:
        probs[probs < how["min_p"] * probs.amax(dim=1, keepdim=True)] = 0
    if "top_p" in how:
        ordered, ids = probs.sort(dim=1, descending=True)
        ordered[ordered.cumsum(dim=1) - ordered >= how["top_p"]] = 0
        probs = torch.zeros_like(probs).scatter(1, ids, ordered)
    probs /= probs.sum(dim=1, keepdim=True)
    cut = Truncation(**{name: how.pop(name) for name in Truncation._fields if name in how})
    draw = mixture_drawer(top, made, torch.float32, cut=cut, **how)
    hidden, contexts = (part.repeat_interleave(DRAWS, dim=0) for part in (hidden, contexts))
    numbers = numbers_of_a_draw(temperature=how.get("temperature", 1.0), cut=cut)
    tokens, log_probs = draw(hidden, contexts, torch.rand(len(hidden), numbers, generator=rng()))
    for row, of_row in enumerate(tokens.view(-1, DRAWS)):
        assert chi_square(of_row, probs[row]) > 1e-4, PREFIXES[row]
    assert not torch.isin(tokens, torch.tensor([PAD, BOS, *how.get("forbid", ())])).any()
    expected = probs.repeat_interleave(DRAWS, dim=0).gather(1, tokens[:, None])[:, 0].log()
    torch.testing.assert_close(log_probs.double(), expected, atol=2e-5, rtol=0)


def test_temperature_0_is_the_likeliest_token_of_the_mixture():
    made, top = mixture(), head()
    hidden, contexts = torch.randn(len(PREFIXES), H, generator=rng(1)), contexts_of(made, PREFIXES)
    best = log_distribution(hidden, contexts, top.weight, top.bias, made)
    best[:, EOS] = -math.inf
    tokens, log_probs = mixture_drawer(top, made, torch.float32, temperature=0, forbid=(EOS,))(
        hidden, contexts, torch.rand(len(hidden), 1)
    )
    assert torch.equal(tokens, best.argmax(dim=1))
    assert (log_probs == 0).all()


def test_chunks_of_rows_change_nothing(monkeypatch):
    made, top = mixture(), head()
    hidden, contexts = torch.randn(23, H, generator=rng(1)), contexts_of(made, PREFIXES[:1]).expand(23, -1)
    whole = log_distribution(hidden, contexts, top.weight, top.bias, made)
    monkeypatch.setattr(mixture_draw, "chunk_rows", lambda vocab_size, device: 28)
    draw = mixture_drawer(top, made, torch.float32, cut=Truncation(top_k=V))
    tokens, log_probs = draw(hidden, contexts, torch.rand(23, 1, generator=rng()))
    torch.testing.assert_close(log_probs, whole.gather(1, tokens[:, None])[:, 0], atol=1e-5, rtol=0)


def test_settings_out_of_range_are_user_errors():
    with pytest.raises(UserError, match="top_k is 0"):
        mixture_drawer(head(), mixture(), torch.float32, cut=Truncation(top_k=0))


def model(kind: str = "rnn"):
    generator = fresh(kind, V).eval()
    return generator, mixture(generator.head.weight.shape[1])


@pytest.mark.parametrize("kind", GENERATOR_KINDS)
def test_a_samples_log_probabilities_are_its_likelihood(kind):
    generator, made = model(kind)
    samples = sample(generator, 211, LENGTH, mixture=made, rng=rng())
    torch.testing.assert_close(
        samples.log_probs, log_prob(generator, samples.tokens, mixture=made), atol=1e-4, rtol=0
    )
    alone = log_prob(generator, samples.tokens)
    assert (alone - samples.log_probs).abs().max() > 0.1


def test_likelihood_is_the_same_step_by_step_and_without_padding():
    generator, made = model()
    tokens = sentences(11, LENGTH, vocab_size=V)
    at_once = log_prob(generator, tokens, mixture=made)
    read, state = reading(generator, made), started(generator, made, len(tokens))
    given = torch.full((len(tokens), 1), BOS)
    for t in range(LENGTH):
        hidden, state = read(given, state)
        head = generator.head
        logs = log_distribution(hidden[:, 0], state[-1], head.weight, head.bias, made)
        given = tokens[:, t : t + 1]
        real = given[:, 0] != PAD
        torch.testing.assert_close(at_once[real, t], logs.gather(1, given)[real, 0], atol=1e-4, rtol=0)
    assert (at_once[tokens == PAD] == 0).all()
    whole = sentence_log_prob(generator, tokens, mixture=made)
    torch.testing.assert_close(whole, at_once.double().sum(dim=1), atol=1e-6, rtol=0)
    found = generator_likelihood(generator, [tokens], mixture=made)
    assert found.nats == pytest.approx(-float(whole.sum()), rel=1e-6)


def test_probabilities_of_all_short_sentences_and_prefixes_sum_to_one():
    generator = fresh("rnn", 7).double().eval()
    made = NGramMixture(generator.head.weight.shape[1], 3).double()
    made.count(np.array([BOS, 4, 5, EOS, BOS, 5, 5, 6, EOS, BOS, 4, 3, EOS]), 7)
    words = torch.arange(EOS, 7)
    pairs = torch.cartesian_prod(words, words)
    # Two tokens, an end among them or not, or one that is the end.
    begun = pairs[pairs[:, 0] != EOS]
    total = log_prob(generator, begun, mixture=made).sum(dim=1).exp().sum()
    total += log_prob(generator, torch.tensor([[EOS]]), mixture=made).exp().sum()
    assert float(total) == pytest.approx(1.0, abs=1e-10)


@pytest.mark.parametrize("is_mixed", [True, False])
@pytest.mark.usefixtures("shapes")
def test_where_no_sentence_ends_its_tokens_share_what_an_end_would_have(is_mixed):
    generator, mixed = model()
    mixed = mixed if is_mixed else None
    first = torch.arange(EOS, V)[:, None]
    before = log_prob(generator, first, mixture=mixed)[:, 0].double()
    p_end = before[0].exp()
    assert p_end > 1e-3
    generator.head.never_ends_at = 0
    found = log_prob(generator, first, mixture=mixed)[:, 0].double()
    torch.testing.assert_close(found[1:], before[1:] - torch.log1p(-p_end), rtol=0, atol=1e-5)
    assert found[0] == NEVER
    assert float(found[1:].exp().sum()) == pytest.approx(1.0, abs=1e-5)
    drawn = sample(generator, 997, LENGTH, mixture=mixed, rng=rng(3))
    assert not (drawn.tokens[:, 0] == EOS).any()
    scored = log_prob(generator, drawn.tokens, mixture=mixed)
    torch.testing.assert_close(drawn.log_probs, scored, rtol=0, atol=1e-4)
    generator.head.never_ends_at = 2
    third = log_prob(generator, drawn.tokens, mixture=mixed)
    ended = (drawn.tokens[:, :3] == EOS).any(dim=1)
    assert (third[:, 2] < NEVER + 1)[drawn.tokens[:, 2] == EOS].all()
    assert ((third - scored)[~ended, 2] > 0).all()
    assert ((third - scored)[~ended, 0] < 0).all()
    torch.testing.assert_close(third[:, 3:], scored[:, 3:], rtol=0, atol=1e-6)


def test_states_branch_with_their_contexts():
    generator, made = model()
    read = reading(generator, made)
    tokens = sentences(5, LENGTH, vocab_size=V)
    _, state = read(tokens[:, :3], started(generator, made, 5))
    assert torch.equal(branch(state, slice(1, 3), 2)[-1], state[-1][[0, 1, 2, 3, 4, 1, 1, 2, 2]])
    repeated = repeat(select(state, torch.tensor([3, 1])), 2)
    assert torch.equal(repeated[-1], state[-1][[3, 3, 1, 1]])


@pytest.mark.parametrize("search", [None, ContrastiveSearch(sampled=2)], ids=["drawn", "searched"])
def test_prompts_lengths_and_forbidden_tokens(search):
    generator, made = model()
    options = {"prompt": torch.tensor([4, 5]), "min_length": 5, "forbid": (UNK, 6), "search": search}
    samples = sample(generator, 97, LENGTH, mixture=made, rng=rng(), **options)
    assert (samples.tokens[:, :2] == torch.tensor([4, 5])).all()
    assert (samples.log_probs[:, :2] == 0).all()
    assert not torch.isin(samples.tokens, torch.tensor([UNK, 6])).any()
    assert not (samples.tokens[:, :5] == EOS).any()
    if search is None:
        # The third token's log-probability is that of the mixture after BOS 4 5 without what is forbidden.
        contexts = contexts_of(made, [[4, 5]])
        hidden, _ = generator.hidden(torch.tensor([[BOS, 4, 5]]), generator.initial(1))
        head = generator.head
        logs = log_distribution(hidden[:, -1], contexts, head.weight, head.bias, made)[0]
        logs[[EOS, UNK, 6]] = -math.inf
        expected = torch.log_softmax(logs, dim=0)[samples.tokens[:, 2]]
        torch.testing.assert_close(samples.log_probs[:, 2], expected, atol=1e-5, rtol=0)


def test_contrastive_search_without_a_penalty_is_greedy_under_the_mixture():
    generator, made = model()
    search = ContrastiveSearch(penalty=0.0, sampled=0)
    found = sample(generator, 1, LENGTH, mixture=made, search=search).tokens
    assert torch.equal(found, sample(generator, 1, LENGTH, mixture=made, temperature=0).tokens)
    alone = sample(generator, 1, LENGTH, temperature=0).tokens
    assert not torch.equal(found, alone)


def test_sentences_that_have_ended_are_masked_where_nothing_is_left_out(monkeypatch):
    generator, made = model()
    with monkeypatch.context() as patched:
        patched.setattr("seqgen.generation.sample.is_host", lambda device: False)
        samples = sample(generator, 211, LENGTH, mixture=made, rng=rng())
    expected = log_prob(generator, samples.tokens, mixture=made)
    torch.testing.assert_close(samples.log_probs, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("how", [{"forbid": (UNK,), "min_length": 2}, {"top_p": 0.8}], ids=str)
def test_nothing_waits_for_an_accelerator(how):
    generator, made = model()
    generator, made = generator.to("meta"), made.to("meta")
    with OneDevice():
        assert sample(generator, 5, LENGTH, mixture=made, **how).tokens.shape == (5, LENGTH)
    tokens = torch.empty(5, LENGTH, dtype=torch.long, device="meta")
    assert log_prob(generator, tokens, mixture=made).is_meta


@pytest.mark.cuda
@pytest.mark.parametrize("how", [{"forbid": (UNK,), "min_length": 2}, {"top_p": 0.8}], ids=str)
def test_samples_on_cuda_are_of_the_mixture_also_from_a_graph(how):
    generator, made = model()
    on_cuda, mixed = fresh("rnn", V).eval().cuda(), mixture(generator.head.weight.shape[1]).cuda()
    for _ in range(3):  # as it is, recorded, replayed
        samples = sample(on_cuda, 4096, LENGTH, mixture=mixed, **how)
        first = samples.tokens[:, 0].cpu()
        contexts = contexts_of(made, [[]])
        hidden, _ = generator.hidden(torch.tensor([[BOS]]), generator.initial(1))
        logs = log_distribution(hidden[:, -1], contexts, generator.head.weight, generator.head.bias, made)[0]
        logs[[*how.get("forbid", ()), *((EOS,) if "min_length" in how else ())]] = -math.inf
        probs = torch.softmax(logs.double(), dim=0)
        if "top_p" in how:
            ordered, ids = probs.sort(descending=True)
            ordered[ordered.cumsum(dim=0) - ordered >= how["top_p"]] = 0
            probs = torch.zeros_like(probs).scatter(0, ids, ordered / ordered.sum())
        assert chi_square(first, probs.detach()) > 1e-4
        expected = probs.log()[first].float()
        torch.testing.assert_close(samples.log_probs[:, 0].cpu(), expected, atol=1e-3, rtol=0)
    tokens = samples.tokens
    torch.testing.assert_close(
        log_prob(on_cuda, tokens, mixture=mixed).cpu(),
        log_prob(generator, tokens.cpu(), mixture=made),
        atol=1e-3,
        rtol=0,
    )


def test_a_mixture_that_has_not_counted_yet_is_kept_too():
    one, other = NGramMixture(11, 3), NGramMixture(11, 3)
    other.load_state_dict(one.state_dict())
    assert not other.is_used
