"""Views of sentences: what is blanked, how much, and what stays."""

import pytest
import torch

from seqgen.core.errors import UserError
from seqgen.data import augment
from seqgen.data.tokenizer import BOS, EOS, PAD, UNK

V = 23


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
def test_only_words_are_blanked_and_their_share_is_right(kind):
    torch.manual_seed(0)
    tokens = sentences(7000, [11, 3, 1])
    tokens[0, 0] = BOS
    seen = augment.view(tokens, kind, 0.3)
    blank = seen == UNK
    assert torch.equal(seen[~blank], tokens[~blank])
    assert not (blank & ((tokens == PAD) | (tokens == EOS) | (tokens == BOS))).any()
    share = float(blank.sum()) / float((tokens > UNK).sum())
    # sqrt(.3 · .7 / 35,000 words) is .0024; a span's words are not independent: three times that and more
    assert share == pytest.approx(0.3, abs=0.01)


def test_a_span_is_one_run_and_every_word_is_as_likely_in_its_middle():
    torch.manual_seed(1)
    tokens = sentences(5000, [7])
    blank = augment.blank_span(tokens, 2 / 7) == UNK
    assert (blank.sum(dim=1) == 2).all()  # a whole number of words: nothing to round
    joined = (blank[:, 1:] & blank[:, :-1]).sum(dim=1)
    assert (joined == 1).all()
    starts = blank.int().argmax(dim=1)
    counts = torch.bincount(starts, minlength=6)[:6]
    # 5,000 / 6 = 833 each, deviation 26
    assert (counts - 5000 / 6).abs().max() < 5 * 26


def test_dropout_and_a_share_of_0_leave_sentences_alone_and_1_blanks_all():
    tokens = sentences(5, [11, 2, 0])
    assert augment.view(tokens, "dropout", 0.5) is tokens
    for kind in ("words", "span"):
        assert torch.equal(augment.view(tokens, kind, 0.0), tokens)
        whole = augment.view(tokens, kind, 1.0)
        assert torch.equal(whole == UNK, tokens > UNK)


def test_two_views_differ_and_a_seed_repeats_them():
    tokens = sentences(13, [11])
    for kind in ("words", "span"):
        torch.manual_seed(2)
        one, two = augment.view(tokens, kind, 0.3), augment.view(tokens, kind, 0.3)
        assert not torch.equal(one, two)
        torch.manual_seed(2)
        assert torch.equal(augment.view(tokens, kind, 0.3), one)


def test_an_unknown_view_is_named():
    with pytest.raises(UserError, match="no view 'spam'; did you mean 'span'"):
        augment.view(sentences(2, [3]), "spam", 0.1)
