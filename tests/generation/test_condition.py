"""What sentences are given, as sampling and scoring see it: masks by hand, proportions, prompts."""

import pytest
import torch
from helpers import V, generator

from seqgen.core.errors import UserError
from seqgen.data.tokenizer import EOS, PAD
from seqgen.generation.condition import Condition
from seqgen.generation.sample import sample

LABELS = Condition(labels=(5, 6), weights=(1.0, 3.0))
SOURCES = Condition(then=5)
CPU = torch.device("cpu")


def test_the_tokens_of_sentences_by_hand() -> None:
    tokens = torch.tensor([[5, 7, 8, EOS, PAD], [6, EOS, PAD, PAD, PAD], [6, 7, 7, 7, 7]])
    expected = [[0, 1, 1, 1, 0], [0, 1, 0, 0, 0], [0, 1, 1, 1, 1]]
    assert LABELS.of_sentence(tokens).int().tolist() == expected
    tokens = torch.tensor([[7, 8, 5, 9, EOS, PAD], [5, 9, EOS, PAD, PAD, PAD], [7, 8, 9, EOS, PAD, PAD]])
    expected = [[0, 0, 0, 1, 1, 0], [0, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0]]
    assert SOURCES.of_sentence(tokens).int().tolist() == expected


def test_labels_are_drawn_by_their_weights_unless_they_are_given() -> None:
    torch.manual_seed(3)
    drawn = LABELS.rows(20_011, None, device=CPU)
    assert drawn is not None
    assert drawn.shape == (20_011, 1)
    assert float((drawn == 6).double().mean()) == pytest.approx(0.75, abs=0.015)
    assert LABELS.rows(3, torch.tensor([5]), device=CPU).tolist() == [[5], [5], [5]]
    assert SOURCES.rows(3, None, device=CPU) is None
    one, other = (LABELS.rows(50, None, device=CPU, rng=torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(one, other)


def test_a_prompt_follows_what_is_given_and_neither_is_drawn_again() -> None:
    options = {"prompt": torch.tensor([7, 8]), "min_length": 3, "forbid": (3,), "top_k": 2}
    begun = LABELS.begun(2, options | {"condition": torch.tensor([[5], [6]])}, device=CPU)
    assert begun["prompt"].tolist() == [[5, 7, 8], [6, 7, 8]]
    assert (begun["min_length"], begun["forbid"], begun["top_k"]) == (4, (3, 5, 6), 2)
    begun = SOURCES.begun(2, {"condition": torch.tensor([9, 7, 5])}, device=CPU)
    assert begun["prompt"].tolist() == [[9, 7, 5], [9, 7, 5]]
    assert begun["forbid"] == (5,)
    assert SOURCES.begun(2, {"min_length": 1}, device=CPU) == {"min_length": 1}
    with pytest.raises(UserError, match="give the source, too"):
        SOURCES.begun(2, options, device=CPU)


def test_nothing_waits_for_an_accelerator() -> None:
    meta = torch.device("meta")
    assert LABELS.rows(3, None, device=meta).shape == (3, 1)
    assert LABELS.begun(3, {"prompt": torch.zeros(2, device=meta)}, device=meta)["prompt"].shape == (3, 3)
    for condition in (LABELS, SOURCES):
        assert condition.of_sentence(torch.zeros(3, 5, device=meta)).device == meta


def test_sampled_sentences_have_what_they_are_given_once() -> None:
    torch.manual_seed(0)
    begun = LABELS.begun(997, {}, device=CPU)
    tokens, log_probs = sample(generator(), 997, 11, **begun)
    assert set(tokens[:, 0].tolist()) == {5, 6}
    assert not ((tokens[:, 1:] == 5) | (tokens[:, 1:] == 6)).any()
    assert (tokens[:, 1] != EOS).any()
    assert (tokens < V).all()
    assert (log_probs[:, 0] == 0).all()
    assert (log_probs[:, 1] < 0).all()
