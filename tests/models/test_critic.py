"""Critics of sentences and codes: padding, soft one-hots, and the slope that is penalised."""

import pytest
import torch
import torch.nn.functional as F

from seqgen.data.tokenizer import EOS, PAD
from seqgen.models.critic import CodeCritic, SentenceCritic

V, E, T, Z = 13, 5, 7, 3


def critic(seed=0, vocab_size=V, **options):
    torch.manual_seed(seed)
    return SentenceCritic(vocab_size, E, filters=3, **options).eval()


def sentences(rows, length=T, seed=1):
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, V, (rows, length), generator=rng)
    for row, end in enumerate(torch.randint(0, length, (rows,), generator=rng).tolist()):
        tokens[row, end] = EOS
        tokens[row, end + 1 :] = PAD
    return tokens


def one_hots(tokens):
    return F.one_hot(tokens, V).float()


def test_padding_changes_nothing():
    tokens = sentences(11)
    wider = F.pad(tokens, (0, 5), value=PAD)
    torch.testing.assert_close(critic()(wider), critic()(tokens), rtol=0, atol=1e-6)
    alone = torch.stack([critic()(row[row != PAD][None])[0] for row in tokens])
    torch.testing.assert_close(critic()(tokens), alone, rtol=0, atol=1e-6)


def test_one_hots_score_as_their_ids_and_have_a_gradient():
    tokens = sentences(11)
    soft = one_hots(tokens).requires_grad_()
    scores = critic()(soft)
    torch.testing.assert_close(scores, critic()(tokens), rtol=0, atol=1e-6)
    (gradient,) = torch.autograd.grad(scores.sum(), soft)
    real = tokens != PAD
    assert (gradient[real].abs().sum(dim=-1) > 0).any()
    assert (gradient[~real] == 0).all()


def test_order_and_ends_matter():
    judge = critic()
    there, back = torch.tensor([[5, 6, 7, 8, EOS]]), torch.tensor([[8, 7, 6, 5, EOS]])
    assert judge(there).item() != pytest.approx(judge(back).item(), abs=1e-6)
    cut = torch.tensor([[5, 6, 7, 8]])
    assert judge(there).item() != pytest.approx(judge(cut).item(), abs=1e-6)


def explicit(judge, real, made, seed):
    """The same penalty with the one-hots held: the slope is that in V numbers a position."""
    rng = torch.Generator().manual_seed(seed)
    share = torch.rand(len(real), 1, 1, generator=rng)
    real, made = (F.one_hot(tokens, len(judge.embedding.weight)).float() for tokens in (real, made))
    between = torch.lerp(made, real, share)
    between[..., PAD] = 0  # padding is the vector 0
    between.requires_grad_()
    scores = judge.judge(between @ judge.embedding.weight)
    (slopes,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
    return (slopes.flatten(1).norm(dim=1) - 1).square().mean()


def test_the_slope_is_that_in_one_hots():
    judge, real, made = critic(), sentences(11), sentences(11, seed=2)
    with torch.no_grad():
        judge.embedding.weight.mul_(3)
    penalty = judge.slope_penalty(real, made, rng=torch.Generator().manual_seed(5))
    wanted = explicit(judge, real, made, seed=5)
    assert penalty.item() == pytest.approx(wanted.item(), rel=1e-3)
    one, other = (
        torch.autograd.grad(loss, list(judge.parameters()), allow_unused=True) for loss in (penalty, wanted)
    )
    for mine, theirs in zip(one, other, strict=True):
        if theirs is None:
            assert mine is None
            continue
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_the_slope_of_few_tokens_in_a_wide_embedding():
    # EᵀE is then singular: 256 units and 20 tokens are the default on a corpus of arithmetic.
    torch.manual_seed(0)
    judge, rng = SentenceCritic(20, 256, filters=3), torch.Generator().manual_seed(1)
    real, made = (torch.randint(4, 20, (11, 7), generator=rng) for _ in range(2))
    penalty = judge.slope_penalty(real, made, rng=torch.Generator().manual_seed(5))
    reference = explicit(judge, real, made, seed=5)
    assert penalty.item() == pytest.approx(reference.item(), rel=1e-3)


def test_a_scaled_embedding_does_not_escape_the_penalty():
    # Embeddings three times longer and filters three times weaker are the same critic.
    judge, real, made = critic(), sentences(11), sentences(11, seed=2)
    before = judge.slope_penalty(real, made, rng=torch.Generator().manual_seed(5)).item()
    scores = judge(real)
    with torch.no_grad():
        judge.embedding.weight.mul_(3)
        for each in judge.convolutions:
            each.weight.div_(3)
    torch.testing.assert_close(judge(real), scores, rtol=1e-4, atol=1e-5)
    after = judge.slope_penalty(real, made, rng=torch.Generator().manual_seed(5)).item()
    assert after == pytest.approx(before, rel=1e-3)


def test_pairs_of_unlike_lengths_and_numbers():
    judge = critic()
    penalty = judge.slope_penalty(sentences(11), one_hots(sentences(4, length=3)))
    assert penalty.isfinite()
    small = critic(vocab_size=4)  # a vocabulary smaller than the embedding
    assert small.slope_penalty(torch.tensor([[EOS]]), torch.tensor([[3, EOS]])).isfinite()


def test_codes_are_judged_one_by_one():
    torch.manual_seed(0)
    judge, codes = CodeCritic(Z, 5), torch.randn(11, Z)
    scores = judge(codes)
    assert scores.shape == (11,)
    torch.testing.assert_close(judge(codes[3:4])[0], scores[3])


@pytest.mark.cuda
def test_the_penalty_on_cuda():
    judge = critic().cuda()
    judge.slope_penalty(sentences(11).cuda(), sentences(4).cuda()).backward()
    assert judge.embedding.weight.grad.isfinite().all()
