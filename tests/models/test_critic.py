"""Critics of sentences and latent vectors: padding, soft one-hots, and the gradient that is penalised."""

import pytest
import torch
import torch.nn.functional as F
from helpers import LENGTH, V, Z, padded
from helpers import sentences as drawn

from seqgen.data.tokenizer import EOS, PAD
from seqgen.models.critic import LatentCritic, RNNCritic, SentenceCritic

E = 5


@pytest.fixture(params=[SentenceCritic, RNNCritic])
def critic(request):
    """What builds a small critic of either kind."""

    def build(seed=0, vocab_size=V, **options):
        torch.manual_seed(seed)
        size = {"filters": 3} if request.param is SentenceCritic else {"hidden": 7}
        return request.param(vocab_size, E, **size, **options).eval()

    return build


def sentences(rows, length=LENGTH, seed=1):
    return drawn(rows, length, seed=seed, shortest=1)


def one_hots(tokens):
    return F.one_hot(tokens, V).float()


def test_padding_changes_nothing(critic):
    tokens = sentences(11)
    torch.testing.assert_close(critic()(padded(tokens)), critic()(tokens), rtol=0, atol=1e-6)
    alone = torch.stack([critic()(row[row != PAD][None])[0] for row in tokens])
    torch.testing.assert_close(critic()(tokens), alone, rtol=0, atol=1e-6)


def test_one_hots_score_as_their_ids_and_have_a_gradient(critic):
    tokens = sentences(11)
    soft = one_hots(tokens).requires_grad_()
    scores = critic()(soft)
    torch.testing.assert_close(scores, critic()(tokens), rtol=0, atol=1e-6)
    (gradient,) = torch.autograd.grad(scores.sum(), soft)
    real = tokens != PAD
    assert (gradient[real].abs().sum(dim=-1) > 0).any()
    assert (gradient[~real] == 0).all()


def test_order_and_ends_matter(critic):
    net = critic()
    there, back = torch.tensor([[5, 6, 7, 8, EOS]]), torch.tensor([[8, 7, 6, 5, EOS]])
    assert net(there).item() != pytest.approx(net(back).item(), abs=1e-6)
    cut = torch.tensor([[5, 6, 7, 8]])
    assert net(there).item() != pytest.approx(net(cut).item(), abs=1e-6)


def explicit(net, real, fake, seed):
    """The same penalty with the one-hots held: the gradient is that in V numbers a position."""
    rng = torch.Generator().manual_seed(seed)
    weight = torch.rand(len(real), 1, 1, generator=rng)
    real, fake = (F.one_hot(tokens, len(net.embedding.weight)).float() for tokens in (real, fake))
    between = torch.lerp(fake, real, weight)
    between[..., PAD] = 0  # padding is the vector 0
    between.requires_grad_()
    scores = net.score(between @ net.embedding.weight)
    (gradients,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
    return (gradients.flatten(1).norm(dim=1) - 1).square().mean()


def test_the_gradient_is_that_in_one_hots(critic):
    net, real, fake = critic(), sentences(11), sentences(11, seed=2)
    with torch.no_grad():
        net.embedding.weight.mul_(3)
    penalty = net.gradient_penalty(real, fake, rng=torch.Generator().manual_seed(5))
    wanted = explicit(net, real, fake, seed=5)
    assert penalty.item() == pytest.approx(wanted.item(), rel=1e-3)
    # The coordinates are constants, so that where a score is curved the embedding's gradient is another.
    is_curved = isinstance(net, RNNCritic)
    compared = [p for p in net.parameters() if not (is_curved and p is net.embedding.weight)]
    one, other = (torch.autograd.grad(loss, compared, allow_unused=True) for loss in (penalty, wanted))
    for mine, theirs in zip(one, other, strict=True):
        if theirs is None:
            assert mine is None
            continue
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_the_gradient_of_few_tokens_in_a_wide_embedding():
    # EᵀE is then singular: 256 dimensions and 20 tokens are the default on a corpus of arithmetic.
    torch.manual_seed(0)
    net, rng = SentenceCritic(20, 256, filters=3), torch.Generator().manual_seed(1)
    real, fake = (torch.randint(4, 20, (11, 7), generator=rng) for _ in range(2))
    penalty = net.gradient_penalty(real, fake, rng=torch.Generator().manual_seed(5))
    reference = explicit(net, real, fake, seed=5)
    assert penalty.item() == pytest.approx(reference.item(), rel=1e-3)


def test_a_scaled_embedding_does_not_escape_the_penalty(critic):
    # Embeddings three times longer and filters three times weaker are the same critic.
    net, real, fake = critic(), sentences(11), sentences(11, seed=2)
    before = net.gradient_penalty(real, fake, rng=torch.Generator().manual_seed(5)).item()
    scores = net(real)
    with torch.no_grad():
        net.embedding.weight.mul_(3)
        for weight in (
            [each.weight for each in net.convolutions]
            if isinstance(net, SentenceCritic)
            else [net.rnn.weight_ih_l0]
        ):
            weight.div_(3)
    torch.testing.assert_close(net(real), scores, rtol=1e-4, atol=1e-5)
    after = net.gradient_penalty(real, fake, rng=torch.Generator().manual_seed(5)).item()
    assert after == pytest.approx(before, rel=1e-3)


def test_pairs_of_unlike_lengths_and_numbers(critic):
    net = critic()
    penalty = net.gradient_penalty(sentences(11), one_hots(sentences(4, length=3)))
    assert penalty.isfinite()
    small = critic(vocab_size=4)  # a vocabulary smaller than the embedding
    assert small.gradient_penalty(torch.tensor([[EOS]]), torch.tensor([[3, EOS]])).isfinite()


def test_latent_vectors_are_scored_one_by_one():
    torch.manual_seed(0)
    net, latents = LatentCritic(Z, 5), torch.randn(11, Z)
    scores = net(latents)
    assert scores.shape == (11,)
    torch.testing.assert_close(net(latents[3:4])[0], scores[3])


@pytest.mark.cuda
def test_the_penalty_on_cuda(critic):
    net = critic().cuda()
    net.gradient_penalty(sentences(11).cuda(), sentences(4).cuda()).backward()
    assert net.embedding.weight.grad.isfinite().all()


def test_a_recurrent_critic_reads_the_state_after_the_last_word():
    torch.manual_seed(0)
    net, tokens = RNNCritic(V, E, hidden=7).eval(), sentences(11)
    for row, score in zip(tokens, net(tokens), strict=True):
        words = row[row != PAD]
        state = torch.zeros(1, 7)
        cell = torch.nn.GRUCell(E, 7)
        cell.load_state_dict({k.removesuffix("_l0"): v for k, v in net.rnn.state_dict().items()})
        for word in words:
            state = cell(net.embedding.weight[word][None], state)
        torch.testing.assert_close(net.head(state)[0, 0], score, rtol=1e-5, atol=1e-6)
