"""Noise of words: what may change and what may not."""

import pytest
import torch

from seqgen.data.augment import blank_words, delete_words, shuffle_words, words
from seqgen.data.tokenizer import BOS, EOS, PAD, UNK

SENTENCES = torch.tensor(
    [[5, 6, 7, 8, 9, EOS, PAD], [10, EOS, PAD, PAD, PAD, PAD, PAD], [4, 5, 6, 7, 8, 9, 10]]
)
MANY = SENTENCES.repeat(1001, 1)


def test_words_are_what_is_neither_padding_nor_a_boundary():
    tokens = torch.tensor([[BOS, 5, UNK, EOS, PAD]])
    assert words(tokens).tolist() == [[False, True, True, False, False]]


def test_blanking_changes_a_share_of_the_words_and_nothing_else():
    torch.manual_seed(0)
    blanked = blank_words(MANY, 0.3)
    is_word = words(MANY)
    changed = blanked != MANY
    assert bool((blanked[changed] == UNK).all())
    assert not bool(changed[~is_word].any())
    assert float(changed[is_word].float().mean()) == pytest.approx(0.3, rel=1e-2 * 4)
    assert torch.equal(blank_words(MANY, 1.0)[is_word], torch.full((int(is_word.sum()),), UNK))


def test_deletion_keeps_order_and_ends():
    torch.manual_seed(0)
    left = delete_words(MANY, 0.3)
    assert left.shape == MANY.shape
    for before, after in zip(MANY[:60].tolist(), left[:60].tolist(), strict=True):
        rest = iter(before)
        kept = [token for token in after if token != PAD]
        assert all(token in rest for token in kept)  # a subsequence
        assert after == kept + [PAD] * (len(after) - len(kept))
        assert (EOS in after) == (EOS in before)
    counts = [words(tokens).sum() for tokens in (left, MANY)]
    assert float(counts[0] / counts[1]) == pytest.approx(0.7, rel=1e-2 * 2)
    assert delete_words(SENTENCES, 1.0).tolist()[:2] == [[EOS] + [PAD] * 6] * 2


def test_shuffling_moves_words_less_than_the_distance():
    torch.manual_seed(0)
    tokens = torch.tensor([[BOS, *range(10, 30), EOS, PAD, PAD]]).repeat(301, 1)
    moved = shuffle_words(tokens, 3.0)
    assert torch.equal(moved[:, 0], tokens[:, 0])
    assert torch.equal(moved[:, 21:], tokens[:, 21:])
    places = (moved[:, 1:21] - 10 - torch.arange(20)).abs()
    assert int(places.max()) == 2  # a word passes another only if that is less than 3 places on
    assert float((places > 0).float().mean()) > 0.4
    assert torch.equal(moved.sort(dim=1).values, tokens.sort(dim=1).values)


def test_no_noise_where_none_is_asked_for():
    for change in (blank_words, delete_words, shuffle_words):
        assert change(SENTENCES, 0.0) is SENTENCES
