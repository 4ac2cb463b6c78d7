"""SentiGAN: its classes, rewards and loss by hand, and that it learns what belongs to a label."""

import math
from pathlib import Path

import pytest
import torch
from helpers import batch, build, config, sentences, write_lines

from seqgen import algorithms
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import BOS, EOS, PAD
from seqgen.data.tokenizer_training import train_tokenizer
from seqgen.generation.condition import Condition
from seqgen.training.setup import adversarial_job, pretrain

WORDS = train_tokenizer([f"w{i}" for i in range(9)], "word", min_count=1).with_labels(["x", "y"])
X, Y = WORDS.labels.values()
"""Two labels; ids 4 … 12 are words."""


def labelled(**values):
    torch.manual_seed(0)
    cls = algorithms.ADVERSARIAL["sentigan"].cls
    algorithm = cls(config("sentigan", values), vocab_size=WORDS.vocab_size, length=7, tokenizer=WORDS)
    algorithm.condition = Condition((X, Y), (1.0, 1.0))
    algorithm.configure()
    return algorithm


def with_logits(algorithm, function):
    seen = []

    def forward(tokens):
        seen.append(tokens)
        return function(tokens)

    algorithm.discriminator.forward = forward
    return seen


def test_rewards_are_the_probability_of_the_class_of_the_label_which_the_discriminator_does_not_see():
    algorithm = labelled()
    tokens = torch.tensor([[X, 5, EOS, PAD], [Y, 5, EOS, PAD], [Y, 6, 7, EOS]])
    seen = with_logits(
        algorithm, lambda tokens: torch.tensor([[0.0, math.log(2), math.log(5)]]).expand(len(tokens), 3)
    )
    rewards = algorithm.token_rewards(tokens, algorithm.of_sentence(tokens), tokens)
    wanted = [[1 / 8] * 3 + [0], [2 / 8] * 3 + [0], [2 / 8] * 4]
    torch.testing.assert_close(rewards, torch.tensor(wanted), rtol=1e-5, atol=1e-7)
    assert all(torch.equal(each[:, 0], torch.full_like(each[:, 0], BOS)) for each in seen)


def test_the_loss_sorts_labels_and_generated_sentences():
    algorithm = labelled()
    real, fake = torch.tensor([[X, 5, EOS], [Y, 6, EOS], [Y, 7, EOS]]), torch.tensor([[X, 5, EOS]])
    logits = {3: [[3.0, 1.0, 0.0], [0.0, 2.0, 0.0], [1.0, 0.0, 0.0]], 1: [[0.0, 0.0, 0.0]]}
    with_logits(algorithm, lambda tokens: torch.tensor(logits[len(tokens)]))
    loss, metrics = algorithm.discriminator_loss(real, fake)
    nll = lambda row, at: math.log(sum(map(math.exp, row))) - row[at]  # noqa: E731
    wanted = [nll(logits[3][0], 0), nll(logits[3][1], 1), nll(logits[3][2], 1), math.log(3)]
    assert float(loss) == pytest.approx(sum(wanted) / 4, rel=1e-5)
    assert float(metrics["d_accuracy"]) == pytest.approx(2 / 4)


def test_without_a_tokenizer_there_is_one_class_of_real_sentences():
    algorithm = build("sentigan")
    assert algorithm._logits(sentences()).shape == (6, 2)
    assert algorithm._classes(sentences()).tolist() == [0] * 6
    algorithm.step(batch(10, seed=2), 0.5)


def test_the_words_of_its_label_become_likelier():
    algorithm = labelled(teacher_forcing=0.0, target_entropy=0.0, lr=3e-2, batch_size=31)
    first = lambda tokens: tokens[:, 1]  # noqa: E731
    # The word 5 is of the label x, 6 of y, all others are generated.
    likes = lambda t: torch.stack(((first(t) == 5) * 6.0, (first(t) == 6) * 6.0, 3.0 + 0 * first(t)), 1)  # noqa: E731
    algorithm.discriminator.forward = likes
    real = Batch(torch.tensor([[X, 5, EOS], [Y, 6, EOS]]).repeat(31, 1))

    def fraction(label, word):
        tokens = algorithm.sample(400, condition=torch.tensor([label])).tokens
        return float((tokens[:, 1] == word).float().mean())

    torch.manual_seed(2)
    before = fraction(X, 5), fraction(Y, 6)
    for i in range(40):
        algorithm.generator_step(real, i / 40, real.tokens)
    assert fraction(X, 5) > max(0.6, 2 * before[0])
    assert fraction(Y, 6) > max(0.6, 2 * before[1])
    assert fraction(X, 6) < 0.3


def test_it_starts_from_labelled_text_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    lines = write_lines(tmp_path / "lines.txt", [f"line {i} of it" for i in range(40)])
    small = {"generator.hidden": 7, "generator.embedding": 5}
    run = pretrain(lines, run="runs/plain", steps=1, values=small)
    with pytest.raises(UserError, match="its text has no labels; pretrain one with --label-column"):
        adversarial_job(run, "sentigan")
    with pytest.raises(UserError, match="run 'seqgen pretrain mle --label-column COLUMN' first"):
        adversarial_job(None, "sentigan")
