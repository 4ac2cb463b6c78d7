"""BLEU as a reward: by hand, and equal to `seqgen.metrics.bleu`."""

import math

import pytest
import torch
from helpers import LENGTH, V, real_lines, sentences

from seqgen.algorithms.bleu_reward import BLEUReward
from seqgen.data.batches import pack
from seqgen.data.tokenizer import EOS, PAD
from seqgen.metrics.bleu import bleu


def reward(text, order, length=LENGTH):
    found = BLEUReward(V, length, order)
    found.count(pack(text))
    return found


def words(tokens):
    return [[str(token) for token in line if token != EOS] for line in real_lines(tokens)]


def test_by_hand():
    scorer = reward([[5, 6, 5, 7, EOS], [6, 7, EOS]], order=2)
    tokens = torch.tensor(
        [
            [5, 6, 5, 5, EOS],  # 5 twice at most: 3 of 4 words; 5 6, 6 5 of 3 pairs; four words as the first
            [6, 5, EOS, PAD, PAD],  # 2 of 2; 6 5; as long as the second
            [7, EOS, PAD, PAD, PAD],  # 1 of 1; no pair is possible: 0.1 of 1; one word where 2 is closest
            [7, 7, 7, EOS, PAD],  # 1 of 3; 0.1 of 2; 2 and 4 words are as close: the shorter
            [8, 9, 8, EOS, PAD],  # no word is known
            [EOS, PAD, PAD, PAD, PAD],
        ]
    )
    wanted = [
        math.sqrt(3 / 4 * 2 / 3),
        math.sqrt(1 * 1),
        math.sqrt(1 * 0.1) * math.exp(1 - 2),
        math.sqrt(1 / 3 * 0.1 / 2),
        0.0,
        0.0,
    ]
    torch.testing.assert_close(scorer(tokens), torch.tensor(wanted), rtol=1e-5, atol=0)


@pytest.mark.parametrize("order", [2, 3, 5])
def test_it_is_the_metric(order):
    text, tokens = sentences(41, seed=3), sentences(101, seed=4, shortest=1)
    text[5:11], text[:, 0] = text[11:17].clone(), 5  # phrases that return
    scorer = reward(real_lines(text), order)
    wanted = bleu(words(tokens), words(text), max_n=order)[order]
    torch.testing.assert_close(scorer(tokens).double(), torch.from_numpy(wanted), rtol=1e-5, atol=1e-7)


def test_truncated_and_single_words_of_a_text():
    # of one word there is no pair; a truncated sentence has no EOS; what follows it begins anew
    scorer = reward([[5, EOS], [6, 7], [8, EOS]], order=2)
    pairs = torch.tensor([[5, 6, EOS], [6, 7, EOS], [7, 8, EOS]])
    assert scorer(pairs).tolist() == pytest.approx([math.sqrt(0.1), 1.0, math.sqrt(0.1)])


def test_counts_come_back_with_the_weights():
    one, other = reward(real_lines(sentences(13)), 3), BLEUReward(V, LENGTH, 3)
    other.load_state_dict(one.state_dict())
    assert torch.equal(one(sentences(11, seed=2)), other(sentences(11, seed=2)))
    assert float(one(sentences(11, seed=2)).max()) > 0
