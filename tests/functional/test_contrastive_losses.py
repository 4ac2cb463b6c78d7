"""Contrastive losses and rewards: hand numbers, references written as loops, and what must not matter."""

import math
from typing import get_args

import pytest
import torch
import torch.nn.functional as F

from seqgen.functional import contrastive_losses

B, FAKES, Z = 7, 3, 5


def embeddings(rows=B, seed=0, dtype=torch.float64):
    return torch.randn(rows, Z, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def cosine(a, b):
    return float(a @ b) / (float(a.norm()) * float(b.norm()))


def test_token_contrastive_by_hand():
    # Unit vectors at 0°, 60° and 90°: cosines ½ (first, second), 0 (first, third), √3/2 (second, third).
    root = math.sqrt(3) / 2
    states = torch.tensor([[[1.0, 0.0], [0.5, root], [0.0, 1.0]]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    # margin 0.5 asks for cosines of at most 0.5: only the last pair exceeds it, by √3/2 - ½; two of six pairs
    assert contrastive_losses.token_contrastive(states, mask).item() == pytest.approx(
        2 * (root - 0.5) / 6, abs=1e-6
    )
    # margin 0.75 asks for 0.25: the first pair exceeds it by ¼ as well
    wanted = 2 * (root - 0.25 + 0.25) / 6
    assert contrastive_losses.token_contrastive(states, mask, margin=0.75).item() == pytest.approx(
        wanted, abs=1e-6
    )
    assert contrastive_losses.anisotropy(states, mask).item() == pytest.approx(2 * (0.5 + root) / 6, abs=1e-6)


def test_token_contrastive_is_the_loop_over_pairs_of_each_sentence():
    rng = torch.Generator().manual_seed(1)
    states = torch.randn(5, 11, 3, generator=rng, dtype=torch.float64)
    lengths = torch.tensor([11, 2, 1, 7, 0])  # the third has no pair, the last no token
    mask = torch.arange(11) < lengths[:, None]
    means, similarities = [], []
    for sentence, length in zip(states, lengths.tolist(), strict=True):
        pairs = [(i, j) for i in range(length) for j in range(length) if i != j]
        if pairs:
            cosines = [cosine(sentence[i], sentence[j]) for i, j in pairs]
            means.append(sum(max(0.0, 0.9 - 1 + c) for c in cosines) / len(pairs))
            similarities.append(sum(cosines) / len(pairs))
    given = contrastive_losses.token_contrastive(states, mask, margin=0.9)
    assert given.item() == pytest.approx(sum(means) / 3, abs=1e-9)
    assert contrastive_losses.anisotropy(states, mask).item() == pytest.approx(
        sum(similarities) / 3, abs=1e-9
    )


def test_padding_and_length_of_vectors_do_not_matter_and_nothing_to_compare_is_0():
    states = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(2))
    mask = torch.arange(7) < torch.tensor([7, 4, 2])[:, None]
    loss = contrastive_losses.token_contrastive(states, mask, margin=1.0)
    noisy = torch.where(mask[..., None], 13 * states, torch.full_like(states, 1e3))
    assert contrastive_losses.token_contrastive(noisy, mask, margin=1.0).item() == pytest.approx(
        loss.item(), abs=1e-6
    )
    alone = mask & (torch.arange(7) < 1)
    states.requires_grad_()
    nothing = contrastive_losses.token_contrastive(states, alone)
    nothing.backward()
    assert nothing.item() == 0
    assert not states.grad.any()


def test_a_step_down_token_contrastive_lowers_the_anisotropy():
    states = torch.full((1, 5, 3), 1.0) + 0.1 * torch.randn(
        1, 5, 3, generator=torch.Generator().manual_seed(3)
    )
    mask = torch.ones(1, 5, dtype=torch.bool)
    states.requires_grad_()
    before = contrastive_losses.anisotropy(states.detach(), mask)
    contrastive_losses.token_contrastive(states, mask).backward()
    assert contrastive_losses.anisotropy(states.detach() - states.grad, mask) < before


def test_a_bfloat16_state_is_compared_in_float32():
    states = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(4)).bfloat16()
    mask = torch.ones(2, 3, dtype=torch.bool)
    assert contrastive_losses.anisotropy(states, mask).dtype == torch.float32


def test_info_nce_by_hand():
    # Cosines 1 and 0 with the own key and the other, temperature ½: -log(e² / (e² + e⁰)) for either query.
    queries, keys = torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([[1.0, 0.0], [0.0, 5.0]])
    wanted = math.log(1 + math.exp(-2))
    assert contrastive_losses.info_nce(queries, keys, temperature=0.5).item() == pytest.approx(
        wanted, abs=1e-6
    )
    same = torch.ones(B, Z)
    assert contrastive_losses.info_nce(same, same).item() == pytest.approx(math.log(B), abs=1e-6)


def test_nt_xent_is_the_loop_over_augmentations():
    first, second, others = embeddings(seed=1), embeddings(seed=2), embeddings(rows=3, seed=3)
    both = torch.cat((first, second))
    for extra in (None, others):
        further = [] if extra is None else extra
        total = 0.0
        for i in range(2 * B):
            exponentials = [math.exp(cosine(both[i], both[n]) / 0.2) for n in range(2 * B) if n != i]
            exponentials += [math.exp(cosine(both[i], other) / 0.2) for other in further]
            own = math.exp(cosine(both[i], both[(i + B) % (2 * B)]) / 0.2)
            total -= math.log(own / sum(exponentials))
        loss = contrastive_losses.nt_xent(first, second, others=extra, temperature=0.2)
        assert loss.item() == pytest.approx(total / (2 * B), abs=1e-9)
    same = torch.ones(B, Z)
    assert contrastive_losses.nt_xent(same, same).item() == pytest.approx(math.log(2 * B - 1), abs=1e-6)


def test_supervised_contrastive_is_the_loop_over_anchors():
    given = embeddings()
    labels = torch.tensor([3, 1, 3, 1, 3, 2, 2])
    anchors = torch.tensor([True, False, True, False, True, True, False])
    losses = []
    for i in range(B):
        rest = [n for n in range(B) if n != i]
        total = sum(math.exp(cosine(given[i], given[n]) / 0.3) for n in rest)
        mates = [n for n in rest if labels[n] == labels[i]]
        losses.append(
            -sum(math.log(math.exp(cosine(given[i], given[n]) / 0.3) / total) for n in mates) / len(mates)
        )
    loss = contrastive_losses.supervised_contrastive(given, labels, temperature=0.3)
    assert loss.item() == pytest.approx(sum(losses) / B, abs=1e-9)
    some = contrastive_losses.supervised_contrastive(given, labels, anchors=anchors, temperature=0.3)
    assert some.item() == pytest.approx((losses[0] + losses[2] + losses[4] + losses[5]) / 4, abs=1e-9)


def test_supervised_contrastive_of_pairs_is_nt_xent_and_without_pairs_nothing():
    first, second = embeddings(seed=1), embeddings(seed=2)
    labels = torch.arange(B).repeat(2)
    both = contrastive_losses.supervised_contrastive(torch.cat((first, second)), labels, temperature=0.5)
    assert both.item() == pytest.approx(contrastive_losses.nt_xent(first, second).item(), abs=1e-9)
    alone = embeddings().requires_grad_()
    nothing = contrastive_losses.supervised_contrastive(alone, torch.arange(B))
    nothing.backward()
    assert nothing.item() == 0
    assert torch.isfinite(alone.grad).all()


@pytest.mark.parametrize(
    "loss",
    [
        contrastive_losses.info_nce,
        contrastive_losses.nt_xent,
        contrastive_losses.logistic_contrastive,
        lambda a, b: contrastive_losses.supervised_contrastive(torch.cat((a, b)), torch.arange(B).repeat(2)),
        lambda a, b: contrastive_losses.ranking_loss(a, b, embeddings(rows=3, seed=9)),
    ],
)
def test_permuting_a_batch_changes_nothing_and_gradients_are_right(loss):
    first, second = embeddings(seed=1).requires_grad_(), embeddings(seed=2).requires_grad_()
    order = torch.randperm(B, generator=torch.Generator().manual_seed(0))
    assert loss(first[order], second[order]).item() == pytest.approx(loss(first, second).item(), abs=1e-9)
    assert torch.autograd.gradcheck(loss, (first, second))


def test_logistic_similarity_by_hand():
    one, other = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])  # 5 apart
    assert contrastive_losses.logistic_similarity(one, one).item() == 1
    wanted = 2 / (1 + math.exp(0.5 * 5))
    assert contrastive_losses.logistic_similarity(one, other, gamma=0.5).item() == pytest.approx(
        wanted, abs=1e-6
    )
    assert contrastive_losses.logistic_similarity(other, one, gamma=0.5).item() == pytest.approx(
        wanted, abs=1e-6
    )


def test_logistic_contrastive_by_hand():
    first, second = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0], [2.0]])
    # ½ ‖·‖²: ½ and 0. Similarity at distance d is 2 / (1 + eᵈ): row one is 1 from its own and 2 from the
    # other, row two 0 and 1.
    one, two = 2 / (1 + math.e), 2 / (1 + math.e**2)
    wanted = ((0.5 - 3 * (one - two)) + (0 - 3 * (1 - one))) / 2
    loss = contrastive_losses.logistic_contrastive(first, second, strength=3.0)
    assert loss.item() == pytest.approx(wanted, abs=1e-6)
    alone = contrastive_losses.logistic_contrastive(first[:1], second[:1], strength=3.0)
    assert alone.item() == pytest.approx(0.5 - 3 * one, abs=1e-6)
    # two more negatives at 4 and 1, distances 4 and 1 of row one, 2 and 1 of row two
    four = 2 / (1 + math.e**4)
    wanted = ((0.5 - 3 * (one - (two + four + one) / 3)) + (0 - 3 * (1 - (one + two + one) / 3))) / 2
    others = torch.tensor([[4.0], [1.0]])
    loss = contrastive_losses.logistic_contrastive(first, second, others=others, strength=3.0)
    assert loss.item() == pytest.approx(wanted, abs=1e-6)


def test_equal_embeddings_have_a_finite_gradient():
    one = embeddings().requires_grad_()
    contrastive_losses.logistic_contrastive(one, one.detach()).backward()
    assert torch.isfinite(one.grad).all()


def test_distance_reward_is_half_the_difference_of_mean_cosines():
    given, real, fake = embeddings(), embeddings(rows=3, seed=1), embeddings(rows=11, seed=2)
    reward = contrastive_losses.distance_reward(given, real, fake)
    for embedding, value in zip(given, reward.tolist(), strict=True):
        near = sum(cosine(embedding, r) for r in real) / 3
        far = sum(cosine(embedding, f) for f in fake) / 11
        assert value == pytest.approx((near - far) / 2, abs=1e-9)
    one = torch.tensor([[1.0, 0.0]])
    assert contrastive_losses.distance_reward(one, one, -one).item() == 1  # the most there is


def test_ranking_reward_is_the_loop_over_references():
    given, references, comparisons = embeddings(), embeddings(rows=3, seed=1), embeddings(rows=11, seed=2)
    reward = contrastive_losses.ranking_reward(given, references, comparisons, gamma=2.0)
    for embedding, value in zip(given, reward.tolist(), strict=True):
        scores = []
        for u in references:
            own = math.exp(2 * cosine(embedding, u))
            scores.append(own / (own + sum(math.exp(2 * cosine(c, u)) for c in comparisons)))
        assert value == pytest.approx(sum(scores) / 3, abs=1e-9)
    same = torch.ones(3, Z)
    assert contrastive_losses.ranking_reward(same, same, torch.ones(11, Z))[0].item() == pytest.approx(1 / 12)


def test_ranking_loss_by_hand():
    # All alike: a real one ranks 1 / (1 + 2) among two generated, a generated one 1 / (1 + 3) among three.
    loss = contrastive_losses.ranking_loss(torch.ones(3, Z), torch.ones(5, Z), torch.ones(2, Z))
    assert loss.item() == pytest.approx(math.log(3) + math.log(4 / 3), abs=1e-6)


def test_embeddings_near_real_ones_have_higher_rewards():
    real, fake = (
        F.normalize(torch.ones(5, Z) + 0.1 * embeddings(5, seed=1).float()),
        embeddings(5, seed=2).float(),
    )
    for reward in (
        contrastive_losses.distance_reward(torch.cat((real, fake)), real, fake),
        contrastive_losses.ranking_reward(torch.cat((real, fake)), real, fake, gamma=10.0),
    ):
        assert reward[:5].min() > reward[5:].max()


def test_each_objective_has_the_fakes_as_negatives():
    first, second, fake = embeddings(B, seed=1), embeddings(B, seed=2), embeddings(FAKES, seed=3)
    is_real = torch.arange(2 * B + FAKES) < 2 * B
    together = torch.cat((first, second, fake))
    wanted = {
        "supervised": contrastive_losses.supervised_contrastive(
            together, is_real, anchors=is_real, temperature=0.3
        ),
        "nt_xent": contrastive_losses.nt_xent(first, second, others=fake, temperature=0.3),
        "ranking": contrastive_losses.ranking_loss(first, second, fake, gamma=1 / 0.3),
        "logistic": contrastive_losses.logistic_contrastive(
            first, second, others=fake, strength=2.0, gamma=0.5
        ),
    }
    assert set(wanted) == set(get_args(contrastive_losses.Objective))
    for objective, loss in wanted.items():
        how = {"temperature": 0.3, "strength": 2.0, "gamma": 0.5}
        found = contrastive_losses.loss_with_fakes(objective, first, second, fake, **how)
        assert torch.allclose(found, loss, atol=1e-6), objective


def test_each_reward_compares_with_real_and_fake_embeddings():
    each, real, fake = embeddings(B, seed=1), embeddings(B + 2, seed=2), embeddings(FAKES, seed=3)
    distance = contrastive_losses.reward_by("distance", each, real, fake, temperature=0.25)
    ranking = contrastive_losses.reward_by("ranking", each, real, fake, temperature=0.25)
    assert torch.allclose(distance, contrastive_losses.distance_reward(each, real, fake), atol=1e-6)
    wanted = contrastive_losses.ranking_reward(each, real, fake, gamma=4.0)
    assert torch.allclose(ranking, wanted, atol=1e-6)


def test_a_rank_near_one_has_a_finite_loss_in_bfloat16():
    near, far = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]])
    expected = contrastive_losses.ranking_loss(
        far, near, near, gamma=4.0
    )  # a rank of 1 - 3e-4, which bfloat16 has not
    assert 10 < float(expected) < 20
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = contrastive_losses.ranking_loss(far.bfloat16(), near.bfloat16(), near.bfloat16(), gamma=4.0)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
