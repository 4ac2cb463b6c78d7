"""The speed benchmark: its arithmetic with a clock of ours, and references that compute the same thing."""

import json

import pytest
import torch
from typer.testing import CliRunner

from seqgen.algorithms.vae_objective import reconstruction
from seqgen.bench import default_step, latent, plain_models, reference_loops, speed
from seqgen.bench.timing import Row, Timing, interleaved, table
from seqgen.cli.bench import app
from seqgen.core import optim
from seqgen.data.tokenizer import EOS, PAD
from seqgen.functional import gaussian
from seqgen.functional.chunked_loss import head_loss
from seqgen.generation.rollouts import rollout_rewards
from seqgen.generation.sample import log_prob, shifted
from seqgen.models.base import Generator
from seqgen.models.discriminator import RNNDiscriminator
from seqgen.models.encoder import RNNEncoder

UNEVEN = latent.Sizes(vocab=23, shortest=2, longest=13, embedding=7, hidden=11, latent_dim=3, batch=5)
TINY = speed.Sizes(vocab=23, length=5, embedding=7, hidden=11, batch=3, rollouts=2)


class FakeClock:
    """Time passes only when a case says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def passes(self, *seconds: float):
        steps = iter(seconds)

        def call() -> None:
            self.now += next(steps)

        return call


def test_interleaved_takes_turns_and_leaves_the_warm_up_out():
    clock = FakeClock()
    order = []
    slow, fast = clock.passes(100, 9, 5, 7), clock.passes(100, 100, 1, 1, 2, 4, 3, 3)
    cases = {
        "slow": (lambda: (order.append("slow"), slow()), 1),
        "fast": (lambda: (order.append("fast"), fast()), 2),
    }
    timings = interleaved(cases, repeats=3, warmup=1, clock=clock)
    assert order == ["slow", "fast", "fast"] * 4
    assert timings == {"slow": Timing(7, 5, 9), "fast": Timing(3, 1, 3)}


def test_rows_by_hand():
    row = Row("sampling", "sentences", 64, Timing(8, 7, 9), Timing(0.5, 0.4, 0.6), floor=0.125)
    assert row.ratio == 16
    assert row.fraction_of_floor == 0.25
    assert row.ours.throughput(row.work) == 128
    figures = row.as_dict()
    assert figures["ours_per_second"] == 128
    assert figures["naive_per_second"] == 8
    assert figures["ours"] == {"median": 0.5, "least": 0.4, "most": 0.6}
    lines = table([row, Row("bleu", "sentences", 10, Timing(2, 2, 2), Timing(1, 1, 1))]).splitlines()
    assert lines[0].split() == ["task", "naive", "ours", "ratio", "floor", "of", "floor"]
    assert "128 sentences/s, 500 ms (400 ms to 600 ms)" in lines[1]
    assert lines[1].split()[-4:] == ["16.0×", "125", "ms", "25%"]
    assert lines[2].split()[-3:] == ["2.0×", "-", "-"]


def test_rollout_rows_are_the_published_count():
    # SeqGAN's sizes: 64 · 16 · (19 + 18 + … + 1) = 194,560 tokens; the first of each 16 share 1,216 rows.
    sizes = speed.Sizes()
    assert sizes.rollout_rows() == 194_560 - 64 * 16 * 19 + 64 * 19


def networks() -> tuple[Generator, RNNDiscriminator]:
    torch.manual_seed(0)
    generator, discriminator = speed.build_generator(23, 7, 11), RNNDiscriminator(23, 7, 11)
    with torch.no_grad():
        generator.head.offset[EOS] = -1e4
        generator.embedding.weight *= 4  # what follows depends on the token before it
        generator.head.weight *= 12
        discriminator.embedding.weight *= 4
        discriminator.output.weight *= 20
    return generator, discriminator


def test_reference_samples_like_ours():
    generator, _ = networks()
    tokens = reference_loops.sample(generator, 20_000, 2)
    probs = log_prob(generator, torch.arange(4, 23)[:, None])[:, 0].exp()
    counts = torch.bincount(tokens[:, 0], minlength=23)[4:] / 20_000
    assert (counts - probs).abs().max() < 5 * (0.25 / 20_000) ** 0.5


def test_reference_rollouts_estimate_what_ours_do():
    generator, discriminator = networks()
    tokens = reference_loops.sample(generator, 3, 5)
    theirs = reference_loops.rollout_rewards(generator, tokens, discriminator, 300)
    ours = rollout_rewards(generator, tokens, discriminator, 300)
    assert theirs.shape == ours.shape == (3, 5)
    assert (theirs - ours).abs().max() < 5 * (2 * 0.25 / 300) ** 0.5
    assert theirs.std() > 0.05
    torch.testing.assert_close(theirs[:, -1], ours[:, -1], rtol=1e-4, atol=1e-5)


def test_reference_step_is_our_step():
    (one, _), (two, _) = networks(), networks()
    tokens = reference_loops.sample(one, 3, 5)
    loss = reference_loops.pretraining_step(one, optim.adamw(one, lr=0.1), tokens)
    hidden, _ = two.hidden(shifted(tokens), two.initial(3))
    ours = head_loss(
        hidden.flatten(0, 1), two.head.weight, two.head.bias, tokens.flatten(), torch.full((15,), 1 / 15)
    ).loss
    torch.testing.assert_close(loss, ours.detach(), rtol=1e-5, atol=1e-5)
    fresh, _ = networks()
    speed._update(fresh, optim.adamw(fresh, lr=0.1), tokens, torch.ones(3, 5))
    for mine, theirs in zip(fresh.parameters(), one.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3)


def test_reference_update_moves_the_generator_only():
    generator, discriminator = networks()
    before = [p.clone() for p in generator.parameters()]
    scores = [p.clone() for p in discriminator.parameters()]
    optimizer = optim.adamw(generator, lr=0.1)
    reference_loops.adversarial_update(generator, discriminator, optimizer, batch=3, length=5, rollouts=2)
    assert all(not torch.equal(a, b) for a, b in zip(before, generator.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(scores, discriminator.parameters(), strict=True))


def test_reference_vae_step_is_our_step():
    def autoencoder() -> tuple[RNNEncoder, Generator]:
        torch.manual_seed(0)
        return RNNEncoder(23, 7, 11, 3), speed.build_generator(23, 7, 11, latent_dim=3)

    tokens = latent.batch(UNEVEN)
    assert (tokens != PAD).sum(dim=1).tolist() == [2, 5, 8, 10, 13]  # 2 to 13 in four steps of 2.75
    assert bool((tokens == EOS).sum(dim=1).eq(1).all())
    one, two = autoencoder(), autoencoder()
    torch.manual_seed(1)
    loss = reference_loops.vae_step(*one, [optim.adamw(network, lr=0.1) for network in one], tokens)
    torch.manual_seed(1)
    mean, log_var = two[0](tokens)
    ours = reconstruction(two[1], tokens, gaussian.sample(mean, log_var)) + gaussian.kl(mean, log_var).sum()
    assert float(loss) == pytest.approx(float(ours.detach()) / 5, rel=1e-5)
    optim.update({optim.adamw(torch.nn.ModuleList(two), lr=0.1): ours / 5}, clip=1e9)
    for mine, theirs in zip(two, one, strict=True):
        assert torch.allclose(mine.embedding.weight, theirs.embedding.weight, atol=1e-3)


def test_a_row_of_a_sentence_vae():
    (row,) = latent.run(torch.device("cpu"), UNEVEN, repeats=1)
    assert row.work == 2 + 5 + 8 + 10 + 13
    assert row.ratio > 0
    assert row.floor is not None


def test_rows_of_the_default_step_count_real_tokens():
    few, many = (default_step.Text(name, vocab, 2, 13) for name, vocab in (("few", 23), ("many", 599)))
    rows = default_step.run(torch.device("cpu"), (few, many), batch=5, repeats=1)
    assert [row.task for row in rows] == ["default step, few", "default step, many"]
    assert [row.work for row in rows] == [2 + 5 + 8 + 10 + 13] * 2
    assert all(row.ratio > 0 and row.floor is not None and row.floor > 0 for row in rows)


def test_the_plain_step_lowers_the_loss_of_its_batch():
    torch.manual_seed(0)
    tokens = latent.batch(UNEVEN)
    model = plain_models.PlainLSTM(UNEVEN.vocab, UNEVEN.longest)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    before = float(plain_models._nll(model.eval(), tokens)[0].detach())
    for _ in range(7):
        plain_models.step(model.train(), optimizer, tokens)
    assert float(plain_models._nll(model.eval(), tokens)[0].detach()) < 0.8 * before


def test_run_makes_a_row_of_every_task():
    rows = speed.run(TINY, torch.device("cpu"), repeats=1)
    assert [row.task for row in rows] == ["pretraining step", "sampling", "adversarial update"]
    assert all(row.ratio > 0 and row.floor is not None and row.floor > 0 for row in rows)


def test_command_prints_a_table_or_json():
    sizes = {"vocab": 23, "length": 5, "embedding": 7, "hidden": 11, "batch": 3, "rollouts": 2, "repeats": 1}
    options = [
        "speed",
        "--sentences=0",
        "--no-sentence-vae",
        "--no-default-step",
        *(f"--{name}={value}" for name, value in sizes.items()),
    ]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    assert "vocabulary 23, length 5" in result.output
    assert "adversarial update" in result.output
    report = json.loads(CliRunner().invoke(app, [*options, "--json"]).stdout)
    assert report["sizes"]["rollouts"] == 2
    assert report["threads"] == 1
    assert [row["task"] for row in report["rows"]] == ["pretraining step", "sampling", "adversarial update"]
    assert report["rows"][0]["ratio"] == pytest.approx(
        report["rows"][0]["ours_per_second"] / report["rows"][0]["naive_per_second"], rel=1e-6
    )


@pytest.mark.cuda
def test_run_on_cuda():
    assert len(speed.run(TINY, torch.device("cuda"), repeats=1)) == 3
