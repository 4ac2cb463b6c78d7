"""Contrastive losses, and the rewards and measures computed from the same similarities.

Embeddings are compared by their cosine, so their norms do not matter; the two functions of the logistic
similarity compare by Euclidean distance instead. B sentences, T tokens, H hidden and Z embedding dimensions.
Where several processes share a batch, a loss compares sentences with those of all of them; a reward's
references are to be gathered before.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.core import distributed
from seqgen.functional.vocab_projection import no_autocast

Objective = Literal["supervised", "nt_xent", "ranking", "logistic"]
"""What an encoder learns from two augmentations of each real sentence and from fake ones: the supervised loss
(Khosla et al. 2020) with the real sentences as one class and the fake ones as its negatives; NT-Xent (Chen et
al. 2020), where a sentence's other augmentation is told from all other sentences; RankGAN's own objective
(Lin et al. 2017); or half the squared distance of a sentence's augmentations less their logistic similarity
over that to other sentences and to fake ones."""
Similarity = Literal["distance", "ranking"]
"""How a sentence is rewarded: its similarity to real ones less that to fake ones, or RankGAN's ranking."""


def token_contrastive(states: Tensor, mask: Tensor, *, margin: float = 0.5) -> Tensor:
    """Push the hidden states of different tokens of a sentence apart (Su et al. 2022, SimCTG, eq. 2).

    states (B, T, H), mask (B, T), True at real tokens → scalar. The loss of an ordered pair of positions i ≠
    j is max(0, margin - 1 + cos(hᵢ, hⱼ)), where 1 is the similarity of a state with itself. It is averaged
    over the pairs of a sentence, then over the sentences of at least two tokens; 0 if there is no such
    sentence.
    """
    excess = F.relu(margin - 1 + _similarities(states))
    return _mean_of_pairs(excess, mask)


def anisotropy(states: Tensor, mask: Tensor) -> Tensor:
    """Return the mean cosine of two tokens of a sentence (Ethayarajh 2019); (B, T, H), (B, T) → scalar.

    1 if all states point in one direction, 0 if their directions are random. Sentences have equal weight;
    those of one token have none.
    """
    return _mean_of_pairs(_similarities(states), mask)


def _similarities(states: Tensor) -> Tensor:
    exact = torch.promote_types(states.dtype, torch.float32)  # a cosine of bfloat16 is good to two digits
    directions = F.normalize(states.to(exact), dim=-1)
    return directions @ directions.transpose(1, 2)  # (B, T, T)


def _mean_of_pairs(values: Tensor, mask: Tensor) -> Tensor:
    """Average (B, T, T) over the pairs of different real positions of a sentence, then over sentences."""
    itself = torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    pairs = mask[:, :, None] & mask[:, None, :] & ~itself
    counts = pairs.sum(dim=(1, 2))
    means = (values * pairs).sum(dim=(1, 2)) / counts.clamp(min=1)
    return means.sum() / distributed.mean((counts > 0).sum()).clamp(min=1)


def info_nce(queries: Tensor, keys: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Identify the key of each query among all keys of the batch (van den Oord et al. 2018, eq. 4), in nats.

    queries (B, Z), keys (B, Z), row b of `keys` being the key of row b of `queries` → scalar: the mean over i
    of -log softmaxⱼ(cos(qᵢ, kⱼ) / temperature) at j = i. It is log B by chance.
    """
    queries, keys = distributed.gather(queries), distributed.gather(keys)
    logits = cosines(queries, keys) / temperature
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def symmetric_info_nce(first: Tensor, second: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Return the mean of `info_nce` both ways, from `first` to `second` and back; (B, Z), (B, Z) → scalar."""
    forth = info_nce(first, second, temperature=temperature)
    return (forth + info_nce(second, first, temperature=temperature)) / 2


def nt_xent(
    first: Tensor, second: Tensor, *, others: Tensor | None = None, temperature: float = 0.5
) -> Tensor:
    """Identify the other augmentation of each sentence among all others (Chen et al. 2020, SimCLR), in nats.

    first, second (B, Z): embeddings of two augmentations of each sentence → scalar, their eq. 1 averaged over
    all 2 B augmentations, each compared with every other one. It is log(2 B - 1) by chance. `others` (O, Z)
    are further negatives.
    """
    first, second = distributed.gather(first), distributed.gather(second)
    embeddings = torch.cat((first, second))
    others = None if others is None else distributed.gather(others)
    logits = _without_self(cosines(embeddings, embeddings) / temperature)
    if others is not None:
        logits = torch.cat((logits, cosines(embeddings, others) / temperature), dim=1)
    return F.cross_entropy(logits, torch.arange(len(embeddings), device=embeddings.device).roll(len(first)))


def supervised_contrastive(
    embeddings: Tensor, labels: Tensor, *, anchors: Tensor | None = None, temperature: float = 0.1
) -> Tensor:
    """Draw embeddings of one class together and away from the others (Khosla et al. 2020, eq. 2), in nats.

    embeddings (N, Z), labels (N,) → scalar: the mean over anchors i of -1 / |P(i)| Σ_{p ∈ P(i)} log
    softmax_{n ≠ i}(cos(eᵢ, eₙ) / temperature) at n = p, where P(i) holds the other embeddings of i's class.
    `anchors` (N,) marks the embeddings that are anchors, all by default; an embedding alone in its class is
    never one. 0 if there is no anchor.
    """
    embeddings, labels = distributed.gather(embeddings), distributed.gather(labels)
    anchors = None if anchors is None else distributed.gather(anchors)
    logits = _without_self(cosines(embeddings, embeddings) / temperature)
    others = ~torch.eye(len(embeddings), dtype=torch.bool, device=embeddings.device)
    positives = (labels[:, None] == labels) & others
    counts = positives.sum(dim=1)
    used = counts > 0 if anchors is None else anchors & (counts > 0)
    log_probs = torch.log_softmax(logits, dim=1).where(positives, 0.0)
    losses = -log_probs.sum(dim=1) / counts.clamp(min=1)
    return (losses * used).sum() / used.sum().clamp(min=1)


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosine of every row of `first` with every row of `second`; (M, Z), (N, Z) → (M, N)."""
    return F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).t()


def _without_self(logits: Tensor) -> Tensor:
    itself = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    return logits.masked_fill(itself, float("-inf"))


def logistic_similarity(first: Tensor, second: Tensor, *, gamma: float = 1.0) -> Tensor:
    """Return 2 / (1 + exp(γ ‖v - w‖)), which falls from 1 to 0 with distance; (…, Z), (…, Z) → (…).

    1 / (1 + exp(-γ (v - w))), a logistic function of the difference, would not be a similarity: it is ½ for
    equal vectors and depends on their order. The negative distance in place of the difference corrects both,
    and the factor 2 makes the maximum 1.
    """
    distances = torch.linalg.vector_norm(first - second, dim=-1)
    return 2 * torch.sigmoid(-gamma * distances)


def logistic_contrastive(
    first: Tensor,
    second: Tensor,
    *,
    others: Tensor | None = None,
    strength: float = 1.0,
    gamma: float = 1.0,
) -> Tensor:
    """Return the mean of ½ ‖v - w‖² - strength · (s(v, w) - mean s(v, w′)); (B, Z), (B, Z) → scalar.

    s is `logistic_similarity`; row b of `second` is the positive w of row b of `first`, the other rows are
    the negatives w′, and so are the rows of `others`, (O, Z). Without the negatives nothing would keep all
    vectors from becoming equal.
    """
    first, second = distributed.gather(first), distributed.gather(second)
    others = None if others is None else distributed.gather(others)
    similarities = logistic_similarity(first[:, None], second[None], gamma=gamma)  # (B, B)
    positives = similarities.diagonal()
    sums, count = similarities.sum(dim=1) - positives, len(first) - 1
    if others is not None:
        sums = sums + logistic_similarity(first[:, None], others[None], gamma=gamma).sum(dim=1)
        count += len(others)
    negatives = sums / max(count, 1)
    pull = (first - second).square().sum(dim=1) / 2
    return (pull - strength * (positives - negatives)).mean()


def distance_reward(embeddings: Tensor, real: Tensor, fake: Tensor) -> Tensor:
    """Return how much nearer embeddings are to real ones than to fake ones, in [-1, 1]; → (N,).

    embeddings (N, Z), real (R, Z), fake (F, Z). The reward is half the mean cosine with real embeddings less
    half the mean cosine with fake ones. Without the second term it would depend on how similar all embeddings
    are to each other.
    """
    # The mean of cosines is the product with the mean direction, so no (N, R) is needed.
    direction = F.normalize(real, dim=-1).mean(dim=0) - F.normalize(fake, dim=-1).mean(dim=0)
    return F.normalize(embeddings, dim=-1) @ direction / 2


def ranking_reward(
    embeddings: Tensor, references: Tensor, comparisons: Tensor, *, gamma: float = 1.0
) -> Tensor:
    """Return RankGAN's expected ranking score, in (0, 1) (Lin et al. 2017, section 3.2); → (N,).

    embeddings (N, Z), references (U, Z) of real sentences, comparisons (C, Z). For a reference u, a sentence
    s is ranked within the comparison set: exp(γ cos(s, u)) / (exp(γ cos(s, u)) + Σ_c exp(γ cos(c, u))). The
    score is the mean over references, 1 / (1 + C) by chance.
    """
    own = gamma * cosines(embeddings, references)  # (N, U)
    rivals = torch.logsumexp(gamma * cosines(comparisons, references), dim=0)  # (U,)
    return torch.sigmoid(own - rivals).mean(dim=1)


def ranking_loss(real: Tensor, references: Tensor, fake: Tensor, *, gamma: float = 1.0) -> Tensor:
    """Return the loss of RankGAN's ranker, -E[log R(real)] - E[log(1 - R(fake))], in nats (Lin et al. 2017).

    real (R, Z), references (U, Z) of real sentences, fake (F, Z) → scalar. R is `ranking_reward`: a real
    sentence is ranked among the fake ones, a fake sentence among the real ones.
    """
    wide = torch.promote_types(real.dtype, torch.float32)  # in bfloat16 a rank near 1 is 1, its loss infinite
    real, references, fake = (distributed.gather(each.to(wide)) for each in (real, references, fake))
    with no_autocast(real.device):
        high = ranking_reward(real, references, fake, gamma=gamma)
        low = ranking_reward(fake, references, real, gamma=gamma)
    return -high.log().mean() - torch.log1p(-low).mean()


def loss_with_fakes(
    objective: Objective,
    first: Tensor,
    second: Tensor,
    fake: Tensor,
    *,
    temperature: float = 0.1,
    strength: float = 1.0,
    gamma: float = 1.0,
) -> Tensor:
    """Return the loss of two augmentations of each real sentence, and of fake ones; (R, Z), (F, Z) → scalar.

    `temperature` divides cosines (1 / γ of RankGAN); `strength` and `gamma` are `logistic_contrastive`'s.
    """
    if objective == "nt_xent":
        return nt_xent(first, second, others=fake, temperature=temperature)
    if objective == "ranking":
        return ranking_loss(first, second, fake, gamma=1 / temperature)
    if objective == "logistic":
        return logistic_contrastive(first, second, others=fake, strength=strength, gamma=gamma)
    embeddings = torch.cat((first, second, fake))
    is_real = torch.arange(len(embeddings), device=embeddings.device) < len(embeddings) - len(fake)
    return supervised_contrastive(embeddings, is_real, anchors=is_real, temperature=temperature)


def reward_by(
    similarity: Similarity, embeddings: Tensor, real: Tensor, fake: Tensor, *, temperature: float = 0.1
) -> Tensor:
    """Return the similarity of embeddings to real ones rather than fake ones; (N, Z), (R, Z), (F, Z) → (N,).

    `temperature` divides the cosines of the ranking (1 / γ of RankGAN).
    """
    if similarity == "distance":
        return distance_reward(embeddings, real, fake)
    return ranking_reward(embeddings, real, fake, gamma=1 / temperature)
