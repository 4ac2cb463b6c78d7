import itertools

import pytest
import torch
from helpers import GENERATOR_KINDS
from helpers import generator as fresh
from torch import Tensor, nn

from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.generation import rollouts
from seqgen.generation.rollouts import rollout_rewards
from seqgen.generation.sample import log_prob, sample, shifted
from seqgen.models.base import Generator, state_bytes
from seqgen.models.discriminator import CNNDiscriminator, RNNDiscriminator, TrunkDiscriminator, scores
from seqgen.models.state import State, branch

B, T, N, V, E, H = 7, 5, 3, 13, 2, 11

both = pytest.mark.usefixtures("shapes")
SENTENCES = torch.tensor(
    [
        [4, 5, 6, 7, 8],
        [5, EOS, PAD, PAD, PAD],
        [6, 12, 4, EOS, PAD],
        [EOS, PAD, PAD, PAD, PAD],
        [8, 9, 10, 11, EOS],
        [9, 5, 5, PAD, PAD],  # cut off before its batch is
        [10, 11, EOS, PAD, PAD],
    ]
)
LAST = [4, 1, 3, 0, 4, 2, 2]


def generator(seed: int = 0, *, ends: float = 1.2, spread: float = 3.0, vocab: int = V, **options):
    """A generator whose completions differ with what they follow, and end now and then."""
    shape = {"embedding": E, "hidden": H} if options.get("kind", "rnn") == "rnn" else {}
    policy = fresh(vocab_size=vocab, seed=seed, **(shape | options))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.mul_(spread)
        policy.head.offset[EOS] = ends
    return policy.eval()


def writer_of(token: int, kind: str = "rnn") -> Generator:
    """A generator that draws one token and no other."""
    policy = generator(kind=kind)
    with torch.no_grad():
        policy.head.offset.fill_(-1e4)
        policy.head.offset[token] = 1e4
    return policy


def discriminator(
    seed: int = 1, kind: type[nn.Module] = RNNDiscriminator, trunk: str = "rnn", **options
) -> nn.Module:
    torch.manual_seed(seed)
    if kind is CNNDiscriminator:
        judge: nn.Module = CNNDiscriminator(V, E, scale=0.02, **options)
    elif kind is TrunkDiscriminator:
        judge = TrunkDiscriminator(fresh(trunk, vocab_size=V, seed=seed, **options))
    else:
        judge = RNNDiscriminator(V, E, H, **options)
    with torch.no_grad():
        for parameter in judge.parameters():
            parameter.mul_(1.5)
    return judge


def state_limit(policy: Generator, reward, rows: int | None, length: int = T) -> int | None:
    """The bytes of the states of so many rows of policy and reward after `length` tokens."""
    if rows is None:
        return None
    read_along = getattr(reward, "reads_prefixes", False)
    of_reward = state_bytes(reward, length) if read_along else 8 * length  # else the tokens so far
    return rows * (state_bytes(policy, length) + of_reward)


def one_by_one(policy, tokens: Tensor, score, n: int, state=None) -> Tensor:
    """The definition: every prefix read anew and continued n times at temperature 0."""
    rewards = torch.zeros(tokens.shape)
    for b, last in enumerate((tokens != PAD).sum(dim=1).tolist()):
        start = None if state is None else tuple(part[b : b + 1] for part in state)
        for t in range(last):
            total = 0.0
            for _ in range(n):
                sentence = tokens[b : b + 1, :last]
                if t + 1 < last:
                    how = {"prompt": tokens[b, : t + 1], "temperature": 0.0, "state": start}
                    sentence = sample(policy, 1, tokens.shape[1], **how).tokens
                total += float(score(sentence))
            rewards[b, t] = total / n
    return rewards


@both
@pytest.mark.parametrize("rows", [None, 1, 19, 40])
@pytest.mark.parametrize("kind", GENERATOR_KINDS)
def test_each_reward_lands_at_its_sentence_and_position(kind, rows):
    # Sentence b begins with token 4 + b, and all that is generated after a prefix is UNK: a whole sentence
    # tells which prefix it continues. The reward is 100 b + the length of the prefix.
    tokens = torch.arange(4, 4 + B)[:, None].repeat(1, T)

    def told(whole: Tensor) -> Tensor:
        return 100.0 * (whole[:, 0] - 4) + (whole != UNK).sum(dim=1)

    policy = writer_of(UNK, kind)
    rewards = rollout_rewards(policy, tokens, told, N, max_state_bytes=state_limit(policy, told, rows))
    expected = 100.0 * torch.arange(B)[:, None] + torch.arange(1, T + 1)
    assert torch.equal(rewards, expected)


POLICIES = {
    "lstm": {"spread": 5.0},
    "gru": {"cell": "gru"},
    "two layers": {"layers": 2, "ends": 2.0, "spread": 5.0},
    "attention": {"attention": True, "ends": 3.0},
    "tied attention": {"attention": True, "tied": True, "cell": "gru"},
    "transformer": {"kind": "transformer", "ends": 1.5, "spread": 5.0},
    "relational memory": {"kind": "relational-memory", "ends": 2.0},
    "tied relational memory": {"kind": "relational-memory", "slots": 1, "tied": True, "ends": 2.0},
}
DISCRIMINATORS = {
    "lstm": {},
    "gru": {"cell": "gru", "layers": 2},
    "bidirectional": {"bidirectional": True},
    "cnn": {"kind": CNNDiscriminator},
    "transformer": {"kind": TrunkDiscriminator, "trunk": "transformer"},
    "relational memory": {"kind": TrunkDiscriminator, "trunk": "relational-memory"},
}


@both
@pytest.mark.parametrize("rows", [None, 17])
@pytest.mark.parametrize("judge", DISCRIMINATORS)
@pytest.mark.parametrize("options", POLICIES.values(), ids=POLICIES)
def test_lock_step_equals_one_by_one(options, judge, rows):
    policy, reward = generator(**options), discriminator(**DISCRIMINATORS[judge]).eval()

    def score(whole: Tensor) -> Tensor:
        return torch.sigmoid(scores(reward, whole))

    limit = state_limit(policy, reward, rows)
    rewards = rollout_rewards(policy, SENTENCES, reward, N, temperature=0.0, max_state_bytes=limit)
    torch.testing.assert_close(rewards, one_by_one(policy, SENTENCES, score, N), rtol=1e-5, atol=1e-6)
    limit = state_limit(policy, score, rows)
    read_whole = rollout_rewards(policy, SENTENCES, score, N, temperature=0.0, max_state_bytes=limit)
    torch.testing.assert_close(read_whole, rewards, rtol=1e-5, atol=1e-6)


def test_the_policies_of_these_tests_end_sentences_early_and_late():
    for options in POLICIES.values():
        lengths = [
            int((sample(generator(**options), 1, T, prompt=row[:1], temperature=0.0).tokens != PAD).sum())
            for row in SENTENCES
            if row[0] != EOS
        ]
        assert min(lengths) < T, options
        assert max(lengths) == T, options


def all_sentences(length: int) -> Tensor:
    """Every sentence of the two words UNK and 4, of at most `length` tokens."""
    ended = [
        [*body, EOS] + [PAD] * (length - 1 - count)
        for count in range(length)
        for body in itertools.product((UNK, 4), repeat=count)
    ]
    return torch.tensor(ended + [list(body) for body in itertools.product((UNK, 4), repeat=length)])


def place_sum(whole: Tensor) -> Tensor:
    return (whole * torch.arange(1, whole.shape[1] + 1)).sum(dim=1) % 7 / 7.0


@both
@pytest.mark.parametrize("rows", [None, 700])
def test_mean_of_many_rollouts_is_the_expectation(rows):
    n, policy, sentences = 3000, generator(vocab=5, ends=0.5), all_sentences(3)
    tokens = torch.tensor([[3, 4, EOS], [4, 3, 3], [4, EOS, PAD]])
    rng = torch.Generator().manual_seed(3)
    limit = state_limit(policy, place_sum, rows, length=3)
    rewards = rollout_rewards(policy, tokens, place_sum, n, max_state_bytes=limit, rng=rng)
    log_probs = log_prob(policy, sentences)
    assert log_probs.sum(dim=1).exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    earned = place_sum(sentences)
    for b, t in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]:
        follows = (sentences[:, : t + 1] == tokens[b, : t + 1]).all(dim=1)
        probs = log_probs[follows, t + 1 :].sum(dim=1).exp()
        mean = (probs * earned[follows]).sum().item()
        error = ((probs * (earned[follows] - mean) ** 2).sum().item() / n) ** 0.5
        assert error > 1e-4
        assert abs(rewards[b, t].item() - mean) < 4 * error, (b, t)


@both
def test_rewards_make_the_gradient_of_the_expected_score():
    # Σ_Y p(Y) Σ_t Q(Y, t) ∇ log p(y_t | y_<t) = ∇ Σ_Y p(Y) score(Y), over all sentences Y
    policy, sentences = generator(vocab=5, ends=0.5), all_sentences(3)
    rng = torch.Generator().manual_seed(3)
    rewards = rollout_rewards(policy, sentences, place_sum, 30_000, rng=rng)
    logits, _ = policy(shifted(sentences), policy.initial(len(sentences)))
    log_probs = logits.log_softmax(dim=-1).gather(2, sentences[..., None])[..., 0] * (sentences != PAD)
    probs = log_probs.sum(dim=1).exp()
    parameters = list(policy.parameters())
    expected = torch.autograd.grad((probs * place_sum(sentences)).sum(), parameters, retain_graph=True)
    estimated = torch.autograd.grad((probs.detach()[:, None] * rewards * log_probs).sum(), parameters)
    exact, estimate = (torch.cat([g.flatten() for g in part]) for part in (expected, estimated))
    assert (exact - estimate).norm() < 0.05 * exact.norm()


def test_temperature_is_the_policys():
    policy = generator()
    hot = rollout_rewards(policy, SENTENCES, distinct_share, 400, temperature=5.0)
    cold = rollout_rewards(policy, SENTENCES, distinct_share, 400, temperature=1e-5)
    frozen = rollout_rewards(policy, SENTENCES, distinct_share, 1, temperature=0.0)
    torch.testing.assert_close(cold, frozen, rtol=0, atol=1e-2)
    assert (hot - frozen).abs().max() > 0.1


def distinct_share(whole: Tensor) -> Tensor:
    return torch.tensor([len(set(row)) / len(row) for row in whole.tolist()])


@both
@pytest.mark.parametrize("judge", DISCRIMINATORS)
def test_the_last_token_earns_the_score_of_the_sentence_and_padding_nothing(judge):
    reward = discriminator(**DISCRIMINATORS[judge]).eval()
    rewards = rollout_rewards(generator(), SENTENCES, reward, N)
    expected = torch.sigmoid(reward(SENTENCES)).detach()
    torch.testing.assert_close(rewards[torch.arange(B), LAST], expected, rtol=1e-5, atol=1e-6)
    assert (rewards[SENTENCES == PAD] == 0).all()
    assert (rewards[SENTENCES != PAD] > 0).all()


def test_of_logits_makes_rewards_of_a_discriminators_logits():
    reward = discriminator().eval()
    rewards = rollout_rewards(generator(), SENTENCES, reward, N, of_logits=torch.tanh)
    expected = torch.tanh(reward(SENTENCES).detach())
    torch.testing.assert_close(rewards[torch.arange(B), LAST], expected, rtol=1e-5, atol=1e-6)


@both
def test_permuting_the_batch_permutes_the_rewards():
    policy, reward = generator(), discriminator()
    order = torch.tensor([3, 0, 6, 2, 5, 1, 4])
    rewards = rollout_rewards(policy, SENTENCES, reward, N, temperature=0.0)
    permuted = rollout_rewards(policy, SENTENCES[order], reward, N, temperature=0.0)
    torch.testing.assert_close(permuted, rewards[order], rtol=1e-5, atol=1e-6)


@both
@pytest.mark.parametrize(
    "tokens",
    [
        torch.full((B, 1), EOS),
        torch.arange(4, 4 + B)[:, None],
        torch.tensor([[EOS] + [PAD] * (T - 1)] * B),
        torch.tensor([[4, 5], [EOS, PAD], [6, EOS]]),
        torch.tensor([[4, 5, 6], [PAD, PAD, PAD], [EOS, PAD, PAD]]),
        torch.empty(0, T, dtype=torch.long),
    ],
    ids=["only EOS, T = 1", "T = 1", "only EOS", "T = 2", "a row of padding", "no row"],
)
@pytest.mark.parametrize("rows", [None, 4])
def test_edges(tokens, rows):
    policy, reward = generator(), discriminator().eval()

    def score(whole: Tensor) -> Tensor:
        return torch.sigmoid(scores(reward, whole))

    expected = one_by_one(policy, tokens, score, N)
    for judge in (reward, score):
        limit = state_limit(policy, judge, rows, length=tokens.shape[1])
        rewards = rollout_rewards(policy, tokens, judge, N, temperature=0.0, max_state_bytes=limit)
        torch.testing.assert_close(rewards, expected, rtol=1e-5, atol=1e-6)


@both
def test_an_initial_state_is_where_the_policy_starts():
    policy, reward = generator(), discriminator().eval()
    state = tuple(2 * torch.randn(B, 1, H) for _ in range(2))

    def score(whole: Tensor) -> Tensor:
        return torch.sigmoid(scores(reward, whole))

    expected = one_by_one(policy, SENTENCES, score, 1, state)
    assert not torch.allclose(expected, one_by_one(policy, SENTENCES, score, 1), atol=1e-3)
    for rows in (None, 6):
        how = {"temperature": 0.0, "state": state, "max_state_bytes": state_limit(policy, reward, rows)}
        rewards = rollout_rewards(policy, SENTENCES, reward, N, **how)
        torch.testing.assert_close(rewards, expected, rtol=1e-5, atol=1e-6)


class Counting(nn.Module):
    """A policy that notes how many rows it advances at each step."""

    def __init__(self, policy: Generator) -> None:
        super().__init__()
        self.policy, self.head, self.vocab_size = policy, policy.head, policy.vocab_size
        self.rows: list[int] = []

    def initial(self, batch: int):
        return self.policy.initial(batch)

    def hidden(self, tokens: Tensor, state):
        assert tokens.shape[1] == 1
        self.rows.append(tokens.shape[0])
        return self.policy.hidden(tokens, state)

    def read(self, tokens: Tensor, state):
        """What `state_bytes` asks of one that is no `Generator`; not counted."""
        return self.policy.hidden(tokens, state)


def test_no_token_is_read_twice():
    policy = Counting(writer_of(UNK))
    rollout_rewards(policy, torch.full((B, T), 4), discriminator(), N)
    # The sentences alone read BOS and their first token; then each prefix adds N rows a step.
    assert policy.rows == [B, B, B * (1 + N), B * (1 + 2 * N), B * (1 + 3 * N)]


def test_what_has_ended_is_advanced_no_more():
    policy = Counting(writer_of(EOS))
    rollout_rewards(policy, SENTENCES, discriminator(), N)
    assert policy.rows == [sum(last >= t for last in LAST) for t in range(T)]


@pytest.mark.parametrize(("rows", "least"), [(1, T), (20, 0), (45, 0), (1000, 0)])
def test_max_state_bytes_bounds_the_rows_alive(rows, least):
    policy = Counting(writer_of(UNK))
    tokens = torch.full((B, T), 4)
    alive: list[int] = []

    class Watched(RNNDiscriminator):
        def read(self, tokens: Tensor, state):
            assert tokens.shape[1] == 1  # it reads along, no token twice
            alive.append(tokens.shape[0])
            return super().read(tokens, state)

    reward = Watched(V, E, H)
    reward.load_state_dict(discriminator().state_dict())
    expected = rollout_rewards(policy, tokens, discriminator(), N)
    limit = state_limit(policy, reward, rows)
    rewards = rollout_rewards(policy, tokens, reward, N, max_state_bytes=limit)
    torch.testing.assert_close(rewards, expected, rtol=1e-5, atol=1e-6)
    assert 0 < max(alive) <= max(rows, least)
    assert max(alive) > rows / 2 or rows == 1000


@pytest.mark.parametrize("trunk", GENERATOR_KINDS)
@pytest.mark.parametrize("kind", GENERATOR_KINDS)
def test_max_state_bytes_bounds_the_bytes_held_at_once(kind, trunk, monkeypatch):
    policy, reward = writer_of(UNK, kind), discriminator(kind=TrunkDiscriminator, trunk=trunk).eval()
    held: list[int] = []

    def watched(state: State, rows: slice, n: int) -> State:
        together = branch(state, rows, n)
        held.append(sum(part.untyped_storage().nbytes() for part in together))
        return together

    monkeypatch.setattr(rollouts, "branch", watched)
    limit = state_limit(policy, reward, 40)
    rollout_rewards(policy, torch.full((B, T), 4), reward, N, max_state_bytes=limit)
    at_once = [sum(pair) for pair in zip(held[::2], held[1::2], strict=True)]  # the policy's and the reward's
    assert limit / 2 < max(at_once) <= limit


@pytest.mark.parametrize("seed", range(7))
def test_rows_that_go_on_stay_where_they_are(seed):
    rng = torch.Generator().manual_seed(seed)
    alive, first = torch.rand(23, generator=rng) < torch.rand(1, generator=rng), seed * 3 % 23
    rows, of_first = rollouts._closed_up(alive, first)
    assert sorted(rows.tolist()) == alive.nonzero()[:, 0].tolist()
    assert of_first == int(alive[:first].sum())
    assert all(row < first for row in rows[:of_first].tolist())
    assert all(row >= first for row in rows[of_first:].tolist())
    others = range(max(first, of_first), len(rows))
    at_home = [row for row in (*range(of_first), *others) if alive[row]]
    assert all(rows[row] == row for row in at_home)


@both
@pytest.mark.parametrize(("most", "counts"), [(2 * B * T * T, [2, 1]), (B * T, [1] * N), (2**24, [N])])
def test_random_numbers_are_drawn_in_parts(most, counts, monkeypatch):
    asked, drawn = [], torch.rand

    def rand(*shape: int, **how) -> Tensor:
        asked.append(shape)
        return drawn(*shape, **how)

    monkeypatch.setattr(torch, "rand", rand)
    monkeypatch.setattr(rollouts, "MOST_NUMBERS", most)
    policy, reward = generator(), discriminator()
    for rows in (None, 17):  # a state's bound is no matter to what is drawn
        limit = state_limit(policy, reward, rows)
        asked.clear()
        rewards = rollout_rewards(policy, SENTENCES, reward, N, temperature=0.0, max_state_bytes=limit)
        assert asked == [(B, T, count, T) for count in counts]
        monkeypatch.setattr(rollouts, "MOST_NUMBERS", 2**24)
        expected = rollout_rewards(policy, SENTENCES, reward, N, temperature=0.0)
        monkeypatch.setattr(rollouts, "MOST_NUMBERS", most)
        torch.testing.assert_close(rewards, expected, rtol=1e-5, atol=1e-6)


def test_completions_of_different_parts_differ(monkeypatch):
    monkeypatch.setattr(rollouts, "MOST_NUMBERS", 1)
    seen = []

    def reward(whole: Tensor) -> Tensor:
        seen.append(whole)
        return torch.zeros(len(whole))

    rollout_rewards(generator(ends=-1e4), torch.full((B, T), 4), reward, 2)
    first, second = seen
    assert not torch.equal(first, second)


def test_dropout_and_gradients_are_off_and_modes_come_back():
    policy, reward = generator(dropout=0.5, layers=2), discriminator(dropout=0.5)
    expected = rollout_rewards(policy, SENTENCES, reward.eval(), N, temperature=0.0)
    policy.train()
    policy.rnn.eval()
    reward.train()
    rewards = rollout_rewards(policy, SENTENCES, reward, N, temperature=0.0)
    assert torch.equal(rewards, expected)
    assert not rewards.requires_grad
    assert policy.training
    assert policy.dropout.training
    assert not policy.rnn.training
    assert reward.training
    assert reward.dropout.training


def test_the_same_seed_gives_the_same_rewards():
    def rewards(seed: int) -> Tensor:
        return rollout_rewards(
            generator(), SENTENCES, discriminator(), N, rng=torch.Generator().manual_seed(seed)
        )

    assert torch.equal(rewards(5), rewards(5))
    assert not torch.equal(rewards(5), rewards(6))


def test_the_numbers_must_be_positive():
    with pytest.raises(ValueError, match="n is 0; it must be at least 1"):
        rollout_rewards(generator(), SENTENCES, discriminator(), 0)
    with pytest.raises(ValueError, match="max_state_bytes is 0; it must be at least 1"):
        rollout_rewards(generator(), SENTENCES, discriminator(), N, max_state_bytes=0)


@pytest.mark.cuda
@pytest.mark.parametrize("judge", DISCRIMINATORS)
@pytest.mark.parametrize("options", POLICIES.values(), ids=POLICIES)
def test_cuda_equals_cpu(options, judge):
    policy, reward = generator(**options), discriminator(**DISCRIMINATORS[judge])
    expected = rollout_rewards(policy, SENTENCES, reward, N, temperature=0.0)
    rewards = rollout_rewards(policy.cuda(), SENTENCES.cuda(), reward.cuda(), N, temperature=0.0)
    assert rewards.is_cuda
    torch.testing.assert_close(rewards.cpu(), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.cuda
def test_cuda_rollouts_repeat_bit_by_bit():
    policy, reward = generator().cuda(), discriminator().cuda()

    def rewards() -> Tensor:
        rng = torch.Generator("cuda").manual_seed(5)
        return rollout_rewards(policy, SENTENCES.cuda(), reward, 101, rng=rng)

    assert torch.equal(rewards(), rewards())


@pytest.mark.cuda
def test_max_state_bytes_bounds_the_memory_of_the_device():
    policy = generator(hidden=512).cuda()
    reward = discriminator().cuda()
    tokens = torch.randint(4, V, (23, 31), device="cuda")

    def peak(limit: int | None) -> int:
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        rng = torch.Generator("cuda").manual_seed(5)
        rollout_rewards(policy, tokens, reward, 13, max_state_bytes=limit, rng=rng)
        return torch.cuda.max_memory_allocated() - before

    assert peak(2**20) < peak(None) / 4


@both
def test_forbidden_tokens_are_in_no_completion() -> None:
    policy = generator(spread=1.0)
    seen = []

    def reward(tokens: Tensor) -> Tensor:
        seen.append(tokens)
        return torch.zeros(len(tokens))

    generated = torch.full((3, 11), 9)
    rollout_rewards(policy, generated, reward, 17, forbid=(UNK, 5))
    drawn = torch.cat([tokens[:, 1:].flatten() for tokens in seen])
    assert not torch.isin(drawn, torch.tensor([UNK, 5])).any()
    assert torch.isin(drawn, torch.tensor([6, 7])).any()
