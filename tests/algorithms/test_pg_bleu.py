"""PG-BLEU: rewards of tokens by hand, and what it learns."""

import math

import pytest
import torch
from helpers import batch, build, sentences

from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.data.batches import pack
from seqgen.data.tokenizer import EOS, PAD


def test_a_sentences_last_token_earns_its_bleu_and_padding_nothing():
    algorithm = build("pg-bleu", {"order": 2})
    algorithm.read_corpus(pack([[5, 6, 7, EOS]]))
    tokens = torch.tensor([[5, 6, 8, EOS], [8, EOS, PAD, PAD], [EOS, PAD, PAD, PAD]])
    rewards = algorithm.token_rewards(tokens, tokens != PAD, sentences())
    last = [rewards[0, 3], rewards[1, 1], rewards[2, 0]]
    assert [float(each) for each in last] == pytest.approx([math.sqrt(2 / 3 * 1 / 2), 0.0, 0.0], rel=1e-5)
    assert rewards[1, 2:].tolist() == [0, 0]
    assert 0 < float(rewards[0, 0]) < 1


def test_the_references_are_an_even_choice():
    algorithm = build("pg-bleu", {"references": 2})
    algorithm.read_corpus(pack([[5, EOS], [6, EOS], [7, EOS], [8, EOS]]))
    assert algorithm.bleu.most[5:9].tolist() == [1, 0, 1, 0]


def test_phrases_of_the_text_become_likelier():
    values = {"teacher_forcing": 0.0, "target_entropy": 0.0, "lr": 3e-2, "batch_size": 31, "order": 2}
    algorithm = build("pg-bleu", values)
    algorithm.read_corpus(pack([[5, 6, 7, EOS]]))
    bleu = lambda: float(algorithm.bleu(algorithm.sample(500).tokens).mean())  # noqa: E731
    torch.manual_seed(2)
    before = bleu()
    for i in range(30):
        algorithm.step(batch(31, seed=i), i / 30)
    assert bleu() > 2 * before


def test_settings_out_of_range():
    with pytest.raises(UserError, match="order=1 is out of range"):
        settings.override(build("pg-bleu").config, {"order": 1})
