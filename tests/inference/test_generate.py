"""Prompts as they are typed, what of them is unknown, sentences unique by their text, lengths that fit."""

from pathlib import Path

import pytest
import torch
from helpers import write_lines

import seqgen
from seqgen.core.errors import UserError
from seqgen.data.tokenizer import PAD
from seqgen.generation.sample import Samples
from seqgen.inference.generate import describe_unknown, generate
from seqgen.training import load
from seqgen.training.load import Trained

SMALL = {"generator.embedding": 5, "generator.hidden": 7, "batch_size": 8}


@pytest.fixture
def trained(small_runs: dict[str, Path]) -> Trained:
    return load.load(small_runs["mle"], "cpu")


def train(folder: Path, lines: list[str], **options: object) -> Trained:
    corpus = write_lines(folder / "corpus.txt", lines)
    run = seqgen.pretrain(corpus, run=folder / "run", steps=1, values=SMALL, min_count=1, **options)
    return load.load(run, "cpu")


@pytest.mark.parametrize("prompt", ["a Zebra", "A CAT", "two  dogs ", "a cat\tsat"])
def test_a_prompt_stands_as_it_was_typed(trained: Trained, prompt: str) -> None:
    typed = " ".join(prompt.split())
    for sentence in generate(trained, 5, prompt=prompt, seed=3):
        assert sentence.text == typed or sentence.text.startswith((typed + " ", typed + "."))
        assert "<unk>" not in sentence.text


def test_the_unknown_words_of_a_prompt_are_named_and_other_case_too(trained: Trained) -> None:
    said: list[str] = []
    list(generate(trained, 1, prompt="a Cat saw xylophones", notify=said.append))
    assert said == [
        "the prompt 'a Cat saw xylophones' has what the model has never seen: 'Cat', 'saw', 'xylophones'; "
        "case counts, and it knows 'cat'"
    ]
    said.clear()
    list(generate(trained, 1, prompt="a cat", notify=said.append))
    assert said == []


@pytest.mark.parametrize("kind", ["word", "character", "bpe", "byte"])
def test_a_prompt_of_every_tokenizer(tmp_path: Path, kind: str) -> None:
    lines = [f"the old man's cat {i}, here." for i in range(10, 40)]
    trained = train(tmp_path, lines, tokenizer=kind)
    for prompt in ("the old", "the Ωld m", "ca\u0301t 1"):
        (sentence,) = generate(trained, 1, prompt=prompt, max_length=40)
        assert sentence.text.startswith(prompt)
        note = describe_unknown(trained.tokenizer, prompt)
        assert bool(note) == (prompt != "the old" and kind != "byte")


def test_characters_between_spaces_take_an_unspaced_prompt(tmp_path: Path) -> None:
    lines = [" ".join(f"春眠不觉曉处闻啼鸟{i:03}") for i in range(30)]
    trained = train(tmp_path, lines)
    assert trained.tokenizer.encode_prompt("春眠") == (trained.tokenizer.encode("春 眠"), "春 眠")
    assert trained.tokenizer.encode_prompt("春 眠 不") == (trained.tokenizer.encode("春 眠 不"), "春 眠 不")
    said: list[str] = []
    (sentence,) = generate(trained, 1, prompt="春眠", notify=said.append)
    assert sentence.text.startswith("春 眠")
    assert said == []
    (sentence,) = generate(trained, 1, prompt="春x眠", notify=said.append)
    assert sentence.text.startswith("春 x 眠")
    assert said == ["the prompt '春x眠' has what the model has never seen: 'x'"]


class SameText:
    """Samples two texts, each by token ids of its own in every row: PAD inside is no part of the text."""

    takes_candidates = False

    def __init__(self, one: list[int], other: list[int]) -> None:
        self.rows = [[*one, 2, 0], [*one, 2, 5], [*other, 2, 0], [*other, 2, 7]]

    def of_sentence(self, tokens: torch.Tensor) -> torch.Tensor:
        return tokens != PAD

    def sample(self, n: int, **options: object) -> Samples:
        tokens = torch.tensor([self.rows[i % 4] for i in range(n)])
        return Samples(tokens, torch.zeros(tokens.shape))


def test_unique_is_of_texts_not_of_token_ids(trained: Trained) -> None:
    one, other = (trained.tokenizer.encode(text) for text in ("a cat", "two dogs"))
    trained.algorithm = SameText(one, other)
    said: list[str] = []
    found = list(generate(trained, 3, unique=True, notify=said.append))
    assert [sentence.text for sentence in found] == ["a cat", "two dogs"]
    assert said == ["only 2 unique sentences: 10240 more samples had no new one"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_length": 5, "max_length": 4}, "at least 5 tokens cannot have at most 4; lower --min-length"),
        ({"min_length": 99}, "at most 11, the length of the longest training sentence; lower --min-length"),
        ({"max_length": 0}, "--max-length from 1 on"),
        ({"min_length": -1}, "--min-length from 0 on"),
        ({"max_length": 2, "prompt": "a cat"}, "the prompt has 2 tokens and a sentence at most 2"),
    ],
)
def test_contradictory_lengths_are_refused(trained: Trained, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(generate(trained, 1, **options))
