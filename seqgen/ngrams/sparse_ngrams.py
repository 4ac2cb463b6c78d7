"""The sentence by n-gram count matrix, sparse, and its product with a dense matrix."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from seqgen.ngrams.ngrams import Bools, EncodedText, Floats, Ints, count_ngrams


@dataclass(frozen=True)
class SparseMatrix:
    """An (R, C) matrix: entry k is `values[k]` at `rows[k]`, `columns[k]`; sorted by row."""

    rows: Ints
    columns: Ints
    values: Floats
    shape: tuple[int, int]

    @cached_property
    def starts(self) -> Ints:
        """Index of the first entry of each row; (R,)."""
        return np.searchsorted(self.rows, np.arange(self.shape[0]))

    def __matmul__(self, dense: Tensor) -> Tensor:
        """Multiply by a float64 matrix (C, D); → (R, D)."""
        if not len(self.rows):
            return dense.new_zeros(self.shape[0], dense.shape[1])
        return F.embedding_bag(
            torch.from_numpy(self.columns),
            dense,
            torch.from_numpy(self.starts),
            mode="sum",
            per_sample_weights=torch.from_numpy(self.values),
        )

    def transposed(self) -> "SparseMatrix":
        """Swap rows and columns."""
        order = np.argsort(self.columns, kind="stable")
        return SparseMatrix(self.columns[order], self.rows[order], self.values[order], self.shape[::-1])

    def take(self, rows: Bools) -> "SparseMatrix":
        """Keep the rows that the mask (R,) selects."""
        kept = rows[self.rows]
        number = np.cumsum(rows) - 1
        size = (int(rows.sum()), self.shape[1])
        return SparseMatrix(number[self.rows[kept]], self.columns[kept], self.values[kept], size)

    def unit_rows(self) -> "SparseMatrix":
        """Divide every row that is not zero by its L2 norm."""
        norms = np.sqrt(np.bincount(self.rows, weights=self.values**2, minlength=self.shape[0]))
        return SparseMatrix(self.rows, self.columns, self.values / norms[self.rows], self.shape)


def ngram_matrix(text: EncodedText, max_n: int) -> SparseMatrix:
    """Counts of the n-grams of orders 1 … max_n in each sentence, if at least two contain them; (N, C)."""
    parts, width = [], 0
    for grams in count_ngrams(text, max_n):
        shared = grams.sentences() > 1
        kept = shared[grams.gram]
        columns = width + (np.cumsum(shared) - 1)[grams.gram[kept]]
        parts.append((grams.sentence[kept], columns, grams.count[kept]))
        width += int(shared.sum())
    rows, columns, counts = (np.concatenate(each) for each in zip(*parts, strict=True))
    order = np.argsort(rows, kind="stable")
    return SparseMatrix(rows[order], columns[order], counts[order].astype(np.float64), (len(text), width))
