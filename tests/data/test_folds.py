"""Folds by what a sentence says."""

import torch
from helpers import padded, sentences

from seqgen.data.folds import fold_of, outside
from seqgen.data.token_ids import pack
from seqgen.data.tokenizer import EOS


def many(rows=3001):
    return sentences(rows, 13, seed=3, vocab_size=97)


def test_copies_share_a_fold_whatever_their_padding_and_place():
    tokens = many(101)
    folds = fold_of(tokens, 5)
    assert torch.equal(fold_of(padded(tokens), 5), folds)
    order = torch.randperm(101)
    assert torch.equal(fold_of(tokens[order], 5), folds[order])


def test_folds_are_of_one_size_and_depend_on_every_token():
    tokens = many()
    counts = torch.bincount(fold_of(tokens, 7), minlength=7)
    assert len(counts) == 7
    expected = 3001 / 7
    assert float(((counts - expected) ** 2 / expected).sum()) < 6 + 4 * 12**0.5
    for t in range(3):
        changed = tokens.clone()
        changed[:, t] = changed[:, t] + 1
        assert 0.75 < (fold_of(changed, 7) != fold_of(tokens, 7)).float().mean() < 0.95  # 6/7 by chance


def test_the_sentences_outside_a_fold_are_all_the_others_in_their_order():
    rows = [[int(token) for token in row if token] for row in many(301)]
    ids = pack(rows)
    found = [outside(ids, fold, 3) for fold in range(3)]
    assert sum(len(part) for part in found) == 2 * 301
    for fold, part in enumerate(found):
        kept = [row for row in rows if int(fold_of(torch.tensor([row]), 3)[0]) != fold]
        assert [part[i].tolist() for i in range(len(part))] == kept


def test_a_subset_counts_what_it_holds():
    ids = pack([[5, EOS], [5, 6, 7], [1, EOS], [3, 3, EOS]])
    import numpy as np

    part = ids.subset(np.array([3, 1]))
    assert [part[i].tolist() for i in range(2)] == [[3, 3, EOS], [5, 6, 7]]
    assert part.truncated == 1
    assert ids.subset(np.array([], dtype=np.int64)).lengths().tolist() == []
