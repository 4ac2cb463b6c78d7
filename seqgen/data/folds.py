"""Folds of a corpus by what a sentence says: every copy of a sentence is in the same fold."""

import numpy as np
import torch
from torch import Tensor

from seqgen.data.token_ids import Ids

MULTIPLIER = 6364136223846793005
"""Knuth's of a linear congruential generator modulo 2⁶⁴ (The Art of Computer Programming, 3.3.4)."""
CHUNK = 4096


def fold_of(tokens: Tensor, folds: int) -> Tensor:
    """Return the fold of each sentence, by its token ids alone; (B, T) → (B,) in [0, folds).

    PAD is 0 and adds nothing to the hash, so padding changes nothing.
    """
    powers = torch.full((tokens.shape[1],), MULTIPLIER, device=tokens.device).cumprod(dim=0)
    hashed = (tokens * powers).sum(dim=1)  # modulo 2⁶⁴
    hashed = (hashed ^ (hashed >> 31)) * MULTIPLIER  # else it would be linear in the ids
    return ((hashed >> 33) & 0x3FFFFFFF) % folds


def outside(ids: Ids, fold: int, folds: int) -> Ids:
    """Return the sentences that are not in a fold, in their order."""
    parts = np.split(np.arange(len(ids)), np.arange(CHUNK, len(ids), CHUNK))
    kept = [rows[(fold_of(ids.batch(rows), folds) != fold).numpy()] for rows in parts]
    return ids.subset(np.concatenate(kept))
