"""Contrastive losses, and similarities and rewards of embeddings, as functions without parameters.

Codes (B, Z) are compared by their cosine, so their lengths do not matter, except in the two functions of
logistic similarity, which compare by distance.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def token_contrastive(states: Tensor, mask: Tensor, *, margin: float = 0.5) -> Tensor:
    """Push the token representations of a sentence apart (Su et al. 2022, SimCTG, eq. 2).

    states (B, T, H), mask (B, T) True at real positions → scalar: the mean over a sentence's ordered pairs of
    positions i ≠ j of max(0, margin - 1 + cos(hᵢ, hⱼ)), then over the sentences of two tokens or more; 0
    where there is none. The 1 is the similarity of a representation with itself.
    """
    excess = F.relu(margin - 1 + _similarities(states))
    return _mean_of_pairs(excess, mask)


def anisotropy(states: Tensor, mask: Tensor) -> Tensor:
    """Mean cosine of two positions of one sentence (Ethayarajh 2019); (B, T, H), (B, T) → scalar.

    1 where all point one way, 0 where directions are as of chance. Sentences count alike, those of one token
    not at all.
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
    return means.sum() / (counts > 0).sum().clamp(min=1)


def info_nce(queries: Tensor, keys: Tensor, *, temperature: float = 0.1) -> Tensor:
    """Tell each query's key from the other keys of the batch (van den Oord et al. 2018, eq. 4), in nats.

    queries (B, Z), keys (B, Z), row b of one belonging to row b of the other → scalar, log B by chance: the
    mean of -log softmax(cos(qᵢ, kⱼ) / temperature) at j = i.
    """
    logits = cosines(queries, keys) / temperature
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def nt_xent(
    first: Tensor, second: Tensor, *, others: Tensor | None = None, temperature: float = 0.5
) -> Tensor:
    """Tell the two augmentations of a sentence from all others (Chen et al. 2020, SimCLR, eq. 1), in nats.

    first, second (B, Z): two augmentations of each sentence → scalar, log(2 B - 1) by chance: as `info_nce`,
    but each of the 2 B is compared with all but itself. `others` (O, Z) are further negatives.
    """
    embeddings = torch.cat((first, second))
    logits = _without_self(cosines(embeddings, embeddings) / temperature)
    if others is not None:
        logits = torch.cat((logits, cosines(embeddings, others) / temperature), dim=1)
    return F.cross_entropy(logits, torch.arange(len(embeddings), device=embeddings.device).roll(len(first)))


def supervised_contrastive(
    embeddings: Tensor, labels: Tensor, *, anchors: Tensor | None = None, temperature: float = 0.1
) -> Tensor:
    """Pull embeddings of one class together and push the others away (Khosla et al. 2020, eq. 2), in nats.

    embeddings (N, Z), labels (N,) → scalar: the mean over anchors i of -1 / |P(i)| Σ log softmax over all n ≠
    i of cos(cᵢ, cₙ) / temperature, summed over P(i), the others of i's class. `anchors` (N,) marks the
    embeddings that are anchors, all by default; one without another of its class is none. 0 where no anchor
    is left.
    """
    logits = _without_self(cosines(embeddings, embeddings) / temperature)
    others = ~torch.eye(len(embeddings), dtype=torch.bool, device=embeddings.device)
    positives = (labels[:, None] == labels) & others
    counts = positives.sum(dim=1)
    used = counts > 0 if anchors is None else anchors & (counts > 0)
    logs = torch.log_softmax(logits, dim=1).where(positives, 0.0)
    losses = -logs.sum(dim=1) / counts.clamp(min=1)
    return (losses * used).sum() / used.sum().clamp(min=1)


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosine of every embedding of one set with every one of another; (M, Z), (N, Z) → (M, N)."""
    return F.normalize(first, dim=-1) @ F.normalize(second, dim=-1).t()


def _without_self(logits: Tensor) -> Tensor:
    itself = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
    return logits.masked_fill(itself, float("-inf"))


def logistic_similarity(first: Tensor, second: Tensor, *, gamma: float = 1.0) -> Tensor:
    """2 / (1 + exp(γ ‖v - w‖)): 1 for equal embeddings, falling to 0 with distance; (…, Z), (…, Z) → (…).

    A logistic function of the difference of two embeddings, 1 / (1 + exp(-γ (v - w))), is no similarity: it
    gives equal embeddings ½ and depends on their order. The distance in place of the difference, with its
    sign changed, mends both; the 2 makes the largest value 1.
    """
    distances = torch.linalg.vector_norm(first - second, dim=-1)
    return 2 * torch.sigmoid(-gamma * distances)


def logistic_contrastive(
    first: Tensor, second: Tensor, *, strength: float = 1.0, gamma: float = 1.0
) -> Tensor:
    """½ ‖v - w‖² - strength · (their logistic similarity, less that to the others); (B, Z), (B, Z) → scalar.

    Row b of one belongs to row b of the other; the mean over rows. What is taken off is v's mean similarity
    to the other rows of `second`: without it all embeddings could become one.
    """
    similar = logistic_similarity(first[:, None], second[None], gamma=gamma)  # (B, B)
    own = similar.diagonal()
    others = (similar.sum(dim=1) - own) / max(len(first) - 1, 1)
    pull = (first - second).square().sum(dim=1) / 2
    return (pull - strength * (own - others)).mean()


def distance_reward(embeddings: Tensor, real: Tensor, fake: Tensor) -> Tensor:
    """Return how much nearer embeddings are to real than to fake ones; (N, Z), (R, Z), (F, Z) → (N,) in ±1.

    Half the mean cosine to real embeddings less half the mean cosine to generated ones. Without the second
    part the reward would rise and fall with how narrow the cone of all embeddings is.
    """
    # The mean of cosines is the cosine part of the mean direction, so no (N, R) is needed.
    towards = F.normalize(real, dim=-1).mean(dim=0) - F.normalize(fake, dim=-1).mean(dim=0)
    return F.normalize(embeddings, dim=-1) @ towards / 2


def ranking_reward(
    embeddings: Tensor, references: Tensor, comparisons: Tensor, *, gamma: float = 1.0
) -> Tensor:
    """RankGAN's expected ranking score of sentences (Lin et al. 2017, section 3.2); → (N,) in (0, 1).

    embeddings (N, Z), references (U, Z) real, comparisons (C, Z). For each reference u a sentence s competes
    with the comparison set: exp(γ cos(s, u)) / (exp(γ cos(s, u)) + Σ exp(γ cos(c, u))); the mean over
    references. 1 / (1 + C) by chance.
    """
    own = gamma * cosines(embeddings, references)  # (N, U)
    rivals = torch.logsumexp(gamma * cosines(comparisons, references), dim=0)  # (U,)
    return torch.sigmoid(own - rivals).mean(dim=1)


def ranking_loss(real: Tensor, references: Tensor, fake: Tensor, *, gamma: float = 1.0) -> Tensor:
    """What RankGAN's ranker minimises: -E[log R(real)] - E[log(1 - R(fake))], in nats (Lin et al. 2017).

    real (R, Z), references (U, Z) real as well, fake (F, Z) → scalar. R is `ranking_reward`: a real sentence
    is ranked against the generated ones, a generated one against the real ones.
    """
    high = ranking_reward(real, references, fake, gamma=gamma)
    low = ranking_reward(fake, references, real, gamma=gamma)
    return -high.log().mean() - torch.log1p(-low).mean()
