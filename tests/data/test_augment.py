"""Augmentation and corruption of sentences: which tokens change, how many, and which never do."""

import pytest
import torch

from seqgen.core.errors import UserError
from seqgen.data import augment
from seqgen.data.augment import delete_words, mask_words, shuffle_words, words
from seqgen.data.tokenizer import BOS, EOS, PAD, UNK

V = 23
SENTENCES = torch.tensor(
    [[5, 6, 7, 8, 9, EOS, PAD], [10, EOS, PAD, PAD, PAD, PAD, PAD], [4, 5, 6, 7, 8, 9, 10]]
)
MANY = SENTENCES.repeat(1001, 1)


def sentences(rows, lengths, seed=0):
    """Words, EOS, padding: row r has lengths[r % …] words."""
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.full((rows, max(lengths) + 2), PAD)
    for row in range(rows):
        length = lengths[row % len(lengths)]
        tokens[row, :length] = torch.randint(4, V, (length,), generator=rng)
        tokens[row, length] = EOS
    return tokens


@pytest.mark.parametrize("kind", ["words", "span"])
def test_only_words_are_masked_and_at_the_right_rate(kind):
    torch.manual_seed(0)
    tokens = sentences(7000, [11, 3, 1])
    tokens[0, 0] = BOS
    augmented = augment.augment(tokens, kind, 0.3)
    masked = augmented == UNK
    assert torch.equal(augmented[~masked], tokens[~masked])
    assert not (masked & ((tokens == PAD) | (tokens == EOS) | (tokens == BOS))).any()
    rate = float(masked.sum()) / float((tokens > UNK).sum())
    # sqrt(.3 · .7 / 35,000 words) is .0024; a span's words are not independent: three times that and more
    assert rate == pytest.approx(0.3, abs=0.01)


def test_a_span_is_one_run_and_every_word_is_as_likely_in_its_middle():
    torch.manual_seed(1)
    tokens = sentences(5000, [7])
    masked = augment.mask_span(tokens, 2 / 7) == UNK
    assert (masked.sum(dim=1) == 2).all()  # a whole number of words: nothing to round
    joined = (masked[:, 1:] & masked[:, :-1]).sum(dim=1)
    assert (joined == 1).all()
    starts = masked.int().argmax(dim=1)
    counts = torch.bincount(starts, minlength=6)[:6]
    # 5,000 / 6 = 833 each, deviation 26
    assert (counts - 5000 / 6).abs().max() < 5 * 26


def test_dropout_and_a_rate_of_0_change_nothing_and_a_rate_of_1_masks_every_word():
    tokens = sentences(5, [11, 2, 0])
    assert augment.augment(tokens, "dropout", 0.5) is tokens
    for kind in ("words", "span"):
        assert torch.equal(augment.augment(tokens, kind, 0.0), tokens)
        masked = augment.augment(tokens, kind, 1.0)
        assert torch.equal(masked == UNK, tokens > UNK)


def test_two_augmentations_differ_and_a_seed_repeats_them():
    tokens = sentences(13, [11])
    for kind in ("words", "span"):
        torch.manual_seed(2)
        one, two = augment.augment(tokens, kind, 0.3), augment.augment(tokens, kind, 0.3)
        assert not torch.equal(one, two)
        torch.manual_seed(2)
        assert torch.equal(augment.augment(tokens, kind, 0.3), one)


def test_an_unknown_augmentation_is_named():
    with pytest.raises(UserError, match="no augmentation 'spam'; did you mean 'span'"):
        augment.augment(sentences(2, [3]), "spam", 0.1)


def test_words_are_what_is_neither_padding_nor_a_boundary():
    tokens = torch.tensor([[BOS, 5, UNK, EOS, PAD]])
    assert words(tokens).tolist() == [[False, True, True, False, False]]


def test_masking_changes_words_at_its_rate_and_nothing_else():
    torch.manual_seed(0)
    masked = mask_words(MANY, 0.3)
    is_word = words(MANY)
    changed = masked != MANY
    assert bool((masked[changed] == UNK).all())
    assert not bool(changed[~is_word].any())
    assert float(changed[is_word].float().mean()) == pytest.approx(0.3, rel=1e-2 * 4)
    assert torch.equal(mask_words(MANY, 1.0)[is_word], torch.full((int(is_word.sum()),), UNK))


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


def test_a_rate_of_0_returns_the_sentences_themselves():
    for change in (mask_words, delete_words, shuffle_words):
        assert change(SENTENCES, 0.0) is SENTENCES
