"""What an energy reads: who scores which sentence, and what is left out."""

import pytest
import torch
from helpers import generator, padded, sentences

from seqgen.algorithms import energy_reading
from seqgen.algorithms.energy_reading import Reader
from seqgen.data.folds import fold_of
from seqgen.data.tokenizer import PAD
from seqgen.generation.sample import log_prob


def reader():
    return Reader(generator(seed=3), None, lambda tokens: tokens != PAD)


@pytest.mark.parametrize("states", [True, False])
@pytest.mark.parametrize("known_rows", [0, 2, 7])
def test_the_last_sentences_keep_what_is_known_of_them_and_others_are_scored(states, known_rows):
    of, tokens = reader(), sentences(7)
    known = torch.arange(tokens.numel()).view(tokens.shape).float()[7 - known_rows :]
    read = of.read(tokens, known if known_rows else None, states=states)
    width = int((tokens != PAD).sum(dim=1).max())
    assert torch.equal(read.tokens, tokens[:, :width])
    scored = log_prob(of.generator, tokens)
    expected = torch.cat((scored[: 7 - known_rows], known if known_rows else scored[7:]))
    torch.testing.assert_close(read.log_probs, expected[:, :width])
    assert (read.states is not None) == (read.head is not None) == states
    torch.testing.assert_close(of.log_probs(tokens), scored)


def test_nothing_is_read_again_where_all_is_known(monkeypatch):
    of, tokens = reader(), sentences(5)
    monkeypatch.setattr(of.generator, "hidden", lambda *given: pytest.fail("read"))
    assert of.read(tokens, torch.ones(tokens.shape), states=False).log_probs.min() == 1


@pytest.mark.parametrize("leaves_out", [True, False])
def test_a_sentence_is_scored_by_the_reader_of_its_fold(leaves_out, monkeypatch):
    monkeypatch.setattr(energy_reading, "leaves_out", lambda device: leaves_out)
    readers = [Reader(generator(seed=seed), None, lambda tokens: tokens != PAD) for seed in range(5)]
    for tokens in (sentences(11), sentences(2)):  # of two sentences some folds have none
        found = energy_reading.log_probs_of_folds(readers, tokens)
        assert len(found) == len(tokens)
        for row, fold, scores in zip(tokens, fold_of(tokens, 5).tolist(), found, strict=True):
            expected = log_prob(readers[fold].generator, row[None])[0]
            torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
    assert len(set(fold_of(sentences(11), 5).tolist())) > 1


def test_what_is_given_is_not_scored():
    of = Reader(generator(seed=3), None, lambda tokens: (tokens != PAD) & (torch.arange(tokens.shape[1]) > 1))
    tokens = sentences(5)
    read = of.read(tokens, states=True)
    assert (read.log_probs[:, :2] == 0).all()
    later = (read.tokens != PAD)[:, 2:]
    torch.testing.assert_close(
        read.log_probs[:, 2:][later], log_prob(of.generator, read.tokens)[:, 2:][later]
    )


def test_padding_is_cut_and_changes_nothing():
    of, tokens = reader(), sentences(6)
    narrow, wide = (of.read(each, states=True) for each in (tokens, padded(tokens)))
    for one, other in zip(narrow, wide, strict=True):
        torch.testing.assert_close(one, other)


def test_parts_are_of_like_length_where_shapes_may_depend_on_it(monkeypatch):
    monkeypatch.setattr(energy_reading, "READ_ON_HOST", 2)
    monkeypatch.setattr(energy_reading, "READ", 3)
    tokens = torch.tensor([[5, 6, 7], [5, PAD, PAD], [8, 6, PAD], [6, PAD, PAD], [7, 7, 7]])
    assert [rows.tolist() for rows in energy_reading.parts(tokens)] == [[1, 3], [2, 0], [4]]
    assert [rows.tolist() for rows in energy_reading.parts(tokens[:0])] == [[]]
    monkeypatch.setattr(energy_reading, "leaves_out", lambda device: False)
    assert [rows.tolist() for rows in energy_reading.parts(tokens)] == [[0, 1, 2], [3, 4]]
