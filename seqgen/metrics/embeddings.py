"""Sentence embeddings: latent semantic analysis, word vectors from a file, or a sentence-transformers model.

The default is latent semantic analysis (Deerwester et al. 1990): tf-idf, with 1 + log tf, of the words and
bigrams that occur in at least two references, normalised to length 1 and projected on the 64 leading singular
vectors of the references. It is fitted to the references in about a second, and is the same for every text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seqgen.core.errors import UserError
from seqgen.metrics.tokenization import Tokenise
from seqgen.ngrams.ngrams import EncodedText, Floats, join
from seqgen.ngrams.sparse_ngrams import SparseMatrix, ngram_matrix

Encode = Callable[[Sequence[str]], Floats]
"""N sentences → their vectors, (N, D)."""

DIMENSIONS, OVERSAMPLING, POWER_ITERATIONS = 64, 10, 3
ORDER = 2
TRANSFORMERS = "sentence-transformers:"


@dataclass(frozen=True)
class LSA:
    """The space of the references; texts to embed must be encoded with their vocabulary."""

    refs: EncodedText
    dimensions: int = DIMENSIONS
    seed: int = 0

    def __call__(self, text: EncodedText) -> tuple[Floats, Floats]:
        """Embed a text and the references; (N, D) and (R, D), D at most `dimensions`."""
        both = ngram_matrix(join([self.refs, text]), ORDER)
        is_ref = np.arange(both.shape[0]) < len(self.refs)
        frequency = np.bincount(both.columns[is_ref[both.rows]], minlength=both.shape[1])
        is_feature = frequency > 1
        kept = is_feature[both.columns]
        idf = np.log(len(self.refs) / np.maximum(1, frequency)) + 1
        columns = both.columns[kept]
        values = (1 + np.log(both.values[kept])) * idf[columns]
        numbers = (np.cumsum(is_feature) - 1)[columns]
        weighted = SparseMatrix(
            both.rows[kept], numbers, values, (both.shape[0], int(is_feature.sum()))
        ).unit_rows()
        if not weighted.shape[1]:
            return np.zeros((len(text), 1)), np.zeros((len(self.refs), 1))
        directions = singular_directions(weighted.take(is_ref), self.dimensions, self.seed)
        return (weighted.take(~is_ref) @ directions).numpy(), (weighted.take(is_ref) @ directions).numpy()


def singular_directions(matrix: SparseMatrix, dimensions: int, seed: int) -> Tensor:
    """The leading right singular vectors by randomised subspace iteration (Halko et al. 2011); (C, D)."""
    width = min(dimensions + OVERSAMPLING, *matrix.shape)
    transposed = matrix.transposed()
    basis = torch.from_numpy(np.random.default_rng(seed).standard_normal((matrix.shape[1], width)))
    for _ in range(POWER_ITERATIONS):
        basis, _ = torch.linalg.qr(transposed @ (matrix @ basis))
    _, _, right = torch.linalg.svd(matrix @ basis, full_matrices=False)
    return (basis @ right.T)[:, :dimensions].contiguous()


def word_vectors(path: Path, tokenise: Tokenise) -> Encode:
    """Embed a sentence as the mean of its word vectors, from a file in the text format of GloVe or word2vec.

    A line is a word and its vector; a first line of two integers is skipped. A word that is not in the file
    is looked up in lower case, then left out; a sentence without any known word is the zero vector.
    """
    words, vectors = read_vectors(path)
    blank = np.zeros(vectors.shape[1])

    def encode(lines: Sequence[str]) -> Floats:
        rows = []
        for line in lines:
            found = [words.get(word, words.get(word.lower(), -1)) for word in tokenise(line)]
            known = [at for at in found if at >= 0]
            rows.append(vectors[known].mean(axis=0) if known else blank)
        return np.asarray(rows)

    return encode


def read_vectors(path: Path) -> tuple[dict[str, int], Floats]:
    """Read word vectors: the row of each word, and the rows, (W, D); UserError if the file holds none."""
    words: dict[str, int] = {}
    rows: list[Floats] = []
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                word, _, rest = line.rstrip().partition(" ")
                if number == 1 and rest.isdigit() and word.isdigit():
                    continue
                row = np.array(rest.split(), dtype=np.float64)
                if not len(row) or not np.isfinite(row).all() or (rows and len(row) != len(rows[0])):
                    raise ValueError(number)
                words.setdefault(word, len(rows))
                rows.append(row)
    except OSError as error:
        raise UserError(f"--embeddings '{path}' cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"--embeddings '{path}' is not UTF-8 text; give word vectors as text") from error
    except ValueError as error:
        raise UserError(
            f"--embeddings '{path}' is no file of word vectors: line {number} is not a word and as many "
            "numbers as the others"
        ) from error
    if not rows:
        raise UserError(f"--embeddings '{path}' is empty; give a word and its numbers a line")
    return words, np.asarray(rows)


def sentence_transformer(name: str) -> Encode:
    """Embed with a sentence-transformers model; UserError if the package or the model is missing."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise UserError(
            f"--encoder {TRANSFORMERS}{name} needs a package that is not installed; "
            "run 'pip install sentence-transformers', or leave --encoder out"
        ) from error
    try:
        model = SentenceTransformer(name)
    except (OSError, ValueError) as error:
        raise UserError(f"no sentence-transformers model '{name}' can be loaded: {error}") from error
    return lambda lines: np.asarray(model.encode(list(lines)), dtype=np.float64)


def choose_encoder(
    embeddings: Path | None, name: str | None, tokenise: Tokenise
) -> tuple[str, Encode | None]:
    """Return a description of the chosen encoder and the encoder itself; None stands for `LSA`."""
    if embeddings is not None and name is not None:
        raise UserError("--embeddings and --encoder are both given; one of them embeds the sentences")
    if embeddings is not None:
        return f"mean word vector of {embeddings}", word_vectors(embeddings, tokenise)
    if name is not None:
        if not name.startswith(TRANSFORMERS) or name == TRANSFORMERS:
            raise UserError(f"no encoder '{name}'; allowed: {TRANSFORMERS}NAME, or --embeddings FILE")
        return name, sentence_transformer(name.removeprefix(TRANSFORMERS))
    return f"LSA of the references, {DIMENSIONS} dimensions", None
