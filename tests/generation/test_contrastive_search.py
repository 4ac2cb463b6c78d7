"""Contrastive search: against a slow search written as a loop, greedy at no penalty, and its options."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from helpers import GENERATOR_KINDS
from helpers import generator as fresh

from seqgen.core.errors import UserError
from seqgen.data.tokenizer import BOS, EOS, PAD, UNK
from seqgen.generation.contrastive_search import ContrastiveSearch
from seqgen.generation.sample import Samples, sample

V, LENGTH = 23, 11
SHAPES = [
    *({"kind": kind} for kind in GENERATOR_KINDS),
    *({"kind": kind, "latent_dim": 3} for kind in GENERATOR_KINDS),
    {"cell": "gru", "layers": 2, "tied": True},
    {"attention": True},
]


def generator(ends=0.0, **shape):
    made = fresh(vocab_size=V, dropout=0.3, **shape)
    with torch.no_grad():
        made.head.weight.mul_(6)  # opinions strong enough to differ from token to token
        made.head.offset[EOS] = ends
    return made


def slow(made, prefix, state, search, length, forbid=()):
    """One sentence, its candidates read one by one after the whole sentence read again."""
    tokens = list(prefix)
    while len(tokens) < length and (not tokens or tokens[-1] != EOS):
        read = torch.tensor([[BOS, *tokens]])
        past, after = made.hidden(read, state)
        logits = made.head(past[0, -1])
        logits[list(forbid)] = -torch.inf
        probs, ids = torch.softmax(logits, dim=0).topk(search.candidates)
        similarity = {}
        for token in ids.tolist():
            hidden, _ = made.hidden(torch.tensor([[token]]), after)
            similarity[token] = max(float(F.cosine_similarity(hidden[0, 0], h, dim=0)) for h in past[0])
        if EOS in similarity:
            others = [value for token, value in similarity.items() if token != EOS]
            similarity[EOS] = sum(others) / len(others)
        scores = {
            token: (1 - search.penalty) * p - search.penalty * similarity[token]
            for token, p in zip(ids.tolist(), probs.tolist(), strict=True)
        }
        tokens.append(max(scores, key=scores.get))
    return tokens + [PAD] * (length - len(tokens))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("penalty", [0.3, 0.8])
def test_it_is_the_slow_search(shape, penalty):
    search = ContrastiveSearch(penalty=penalty, candidates=5, sampled=2)
    ended = set()
    for ends in (-2.0, 1.0, 5.0):  # seldom, now and then, soon
        made = generator(ends=ends, **shape)
        state = made.initial(11)
        rng = torch.Generator().manual_seed(1)
        tokens = sample(made, 11, LENGTH, state=state, search=search, forbid=(UNK,), rng=rng).tokens
        ended |= set((tokens == EOS).any(dim=1).tolist())
        made.eval()
        for row in range(11):
            prefix = tokens[row, :2].tolist()
            prefix = prefix[: prefix.index(EOS) + 1] if EOS in prefix else prefix
            own = tuple(part[row : row + 1] for part in state)
            with torch.no_grad():
                assert tokens[row].tolist() == slow(made, prefix, own, search, LENGTH, forbid=(UNK,))
    assert ended == {False, True}


@pytest.mark.parametrize("shape", SHAPES)
def test_without_a_penalty_it_is_greedy(shape):
    made = generator(**shape)
    state = made.initial(3)
    search = ContrastiveSearch(penalty=0.0, candidates=3, sampled=0)
    greedy = sample(made, 3, LENGTH, state=state, temperature=0.0)
    assert torch.equal(sample(made, 3, LENGTH, state=state, search=search).tokens, greedy.tokens)


def test_a_penalty_repeats_less():
    torch.manual_seed(3)
    made = generator()
    repeated = lambda penalty: repeats(  # noqa: E731
        sample(made, 101, 31, min_length=31, search=ContrastiveSearch(penalty, 8, sampled=1)).tokens
    )
    assert repeated(0.8) < 0.8 * repeated(0.0)


def repeats(tokens):
    """Fraction of pairs of neighbours that stood in their sentence before."""
    pairs = [list(itertools.pairwise(row)) for row in tokens.tolist()]
    return 1 - sum(len(set(row)) for row in pairs) / sum(len(row) for row in pairs)


def test_what_is_drawn_has_its_log_probability_and_varies_with_the_seed():
    made = generator()

    def draw(seed, search):
        return sample(made, 13, LENGTH, search=search, rng=torch.Generator().manual_seed(seed))

    one = draw(1, ContrastiveSearch(sampled=3))
    plain = draw(1, None)
    assert torch.equal(one.tokens[:, :3], plain.tokens[:, :3])
    assert torch.equal(one.log_probs[:, :3], plain.log_probs[:, :3])
    assert not one.log_probs[:, 3:].any()
    assert torch.equal(draw(1, ContrastiveSearch(sampled=3)).tokens, one.tokens)
    assert not torch.equal(draw(2, ContrastiveSearch(sampled=3)).tokens, one.tokens)
    none = draw(1, ContrastiveSearch(sampled=0)).tokens
    assert (none == none[0]).all()  # nothing drawn, nothing to differ by
    all_drawn = draw(1, ContrastiveSearch(sampled=100))
    assert torch.equal(all_drawn.tokens, plain.tokens)


def test_prompt_least_length_and_forbidden_tokens():
    made = generator()
    with torch.no_grad():
        made.head.offset[EOS] = 9.0  # what it wants most
    prompt = torch.tensor([7, 8, 9])
    for sampled in (0, 2):
        search = ContrastiveSearch(sampled=sampled)
        generated = sample(made, 29, LENGTH, search=search, prompt=prompt, min_length=LENGTH, forbid=(UNK, 5))
        assert (generated.tokens[:, :3] == prompt).all()
        assert not torch.isin(generated.tokens[:, 3:], torch.tensor([PAD, BOS, EOS, UNK, 5])).any()
    with pytest.raises(UserError, match="the prompt has 3 tokens; length is 3"):
        sample(made, 2, 3, prompt=prompt, search=ContrastiveSearch(sampled=0))


def test_none_ends_where_the_head_says_that_none_does():
    made = generator()
    with torch.no_grad():
        made.head.offset[EOS] = 9.0  # what it wants most
    for place, sampled in ((0, 0), (1, 0), (0, 2)):
        made.head.never_ends_at = place
        tokens = sample(made, 29, LENGTH, search=ContrastiveSearch(sampled=sampled, penalty=0.0)).tokens
        assert not (tokens[:, place] == EOS).any()
        assert (tokens[:, place + 1 if place == 0 else 0] == EOS).float().mean() > 0.5


def test_padding_follows_the_end_and_the_mode_of_the_generator_stays():
    made = generator().train()
    tokens = sample(made, 53, LENGTH, search=ContrastiveSearch(penalty=0.1)).tokens
    ends = (tokens == EOS).int().cumsum(dim=1)
    assert torch.equal(tokens == PAD, (ends > 0) & ~((tokens == EOS) & (ends == 1)))
    assert made.training


def test_more_candidates_than_tokens_and_the_shortest_sentences():
    made = generator()
    few = [token for token in range(V) if token not in (5, EOS)]
    search = ContrastiveSearch(candidates=1000, sampled=0)
    tokens = sample(made, 3, 7, search=search, forbid=few).tokens
    assert set(tokens.flatten().tolist()) <= {5, EOS, PAD}
    only = [token for token in range(V) if token != EOS]
    assert sample(made, 3, 7, search=search, forbid=only).tokens[:, 0].tolist() == [EOS] * 3
    assert sample(made, 3, 1, search=ContrastiveSearch()).tokens.shape == (3, 1)
    assert sample(made, 0, 7, search=ContrastiveSearch()).tokens.shape == (0, 7)


def test_a_search_gets_what_sample_was_given():
    seen = {}

    def search(made, batch, length, **options):
        seen.update(options, batch=batch, length=length)
        return Samples(torch.zeros(1, 1), torch.zeros(1, 1))

    sample(generator(), 5, 7, top_k=3, min_p=0.1, temperature=0.5, min_length=2, search=search)
    assert (seen["batch"], seen["length"], seen["min_length"]) == (5, 7, 2)
    assert (seen["top_k"], seen["top_p"], seen["min_p"], seen["temperature"]) == (3, None, 0.1, 0.5)


@pytest.mark.parametrize("wrong", [{"penalty": 1.5}, {"candidates": 0}, {"sampled": -1}])
def test_settings_out_of_range(wrong):
    with pytest.raises(UserError, match=f"setting {next(iter(wrong))}=.* is out of range"):
        ContrastiveSearch(**wrong)


@pytest.mark.cuda
def test_on_cuda_it_is_what_it_is_on_the_cpu():
    made = generator()
    search = ContrastiveSearch(sampled=0)
    here = sample(made, 3, LENGTH, search=search).tokens
    assert torch.equal(sample(made.cuda(), 3, LENGTH, search=search).tokens.cpu(), here)
