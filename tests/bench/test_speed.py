"""The speed benchmark: its arithmetic with a clock of ours, and references that compute the same thing."""

import json
from dataclasses import replace

import pytest
import torch
from typer.testing import CliRunner

from seqgen.algorithms.vae_objective import reconstruction
from seqgen.bench import default_step, floor, latent, plain_models, reference_loops, speed, speed_results
from seqgen.bench.floor import Passes, Product
from seqgen.bench.timing import Row, Timing, interleaved, table
from seqgen.cli.bench import app
from seqgen.core import optim, settings
from seqgen.core.errors import UserError
from seqgen.data.tokenizer import EOS, PAD
from seqgen.functional import gaussian
from seqgen.functional.chunked_loss import head_loss
from seqgen.generation.rollouts import rollout_rewards
from seqgen.generation.sample import log_prob, sample, shifted
from seqgen.models.base import Generator, GeneratorConfig
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
    assert lines[0].split() == ["task", "model", "naive", "ours", "ratio", "floor", "of", "floor"]
    assert "128 sentences/s, 500 ms (400 ms to 600 ms)" in lines[1]
    assert lines[1].split()[-4:] == ["16.0×", "125", "ms", "25%"]
    assert lines[2].split()[-3:] == ["2.0×", "-", "-"]
    alone = Row("sampling", "sentences", 64, None, Timing(0.5, 0.4, 0.6), floor=0.125, what="gru, varied")
    assert alone.ratio is alone.as_dict()["naive_per_second"] is None
    assert table([alone]).splitlines()[1].split()[1:5] == ["gru,", "varied", "-", "128"]


def test_the_products_of_a_recurrent_layer_by_hand():
    # Of three sentences with 3, 2 and 2 tokens all 7 inputs (7) are multiplied at once by 44 × 7, the states
    # (11) of 3, 3 and 1 rows by 44 × 11; back again for the gradients, but for those of the first states.
    generator = speed.build_generator(23, 7, 11)
    assert floor.sentences_by_step(torch.tensor([3, 2, 2])) == [3, 3, 1]
    assert floor.training(generator, [3, 3, 1]) == {
        Product(7, 44, 7): 1,
        Product(7, 7, 44): 1,
        Product(44, 7, 7): 1,
        Product(3, 44, 11): 2,
        Product(1, 44, 11): 1,
        Product(3, 11, 44): 1,
        Product(1, 11, 44): 1,
        Product(44, 11, 7): 1,
    }
    assert floor.reading(generator, [5, 0, 2]) == {
        Product(rows, 44, inputs): 1 for rows in (5, 2) for inputs in (7, 11)
    }


def test_the_products_of_a_transformer_by_hand():
    # One layer of two heads of 6, expansion 3: input 5 → 12, query, key and value 12 → 36, merge 12 → 12,
    # feed-forward 12 → 36 → 12. At the second of two steps 3 rows attend to two positions with each head.
    config = settings.override(
        GeneratorConfig.of_kind("transformer")(),
        {"embedding": 5, "hidden": 12, "layers": 1, "heads": 2, "expansion": 3, "dropout": 0.0},
    )
    generator = config.build(23)
    linear = [(12, 5), (36, 12), (12, 12), (36, 12), (12, 36)]
    assert floor.reading(generator, [0, 3]) == floor.Work(
        [Product(3, *shape) for shape in linear] + [Product(1, 2, 6, batch=6), Product(1, 6, 2, batch=6)]
    )
    # Three and two positions: 9 + 4 of 9 squares, of two heads, make 2.9 of the full one.
    expected = floor.Work([Product(3, 3, 6, batch=3)] * 2 + [Product(3, 6, 3, batch=3)] * 4)
    for outputs, inputs in linear:
        expected.update(
            [Product(5, outputs, inputs), Product(5, inputs, outputs), Product(outputs, inputs, 5)]
        )
    assert floor.training(generator, [2, 2, 1]) == expected


def test_draws_and_the_head_are_counted_by_chunks(monkeypatch):
    monkeypatch.setattr(floor, "chunk_rows", lambda vocab_size, device: 5)
    generator = speed.build_generator(23, 7, 11)
    assert floor.draws(generator, [13, 5]) == {
        Product(5, 23, 11): 3,
        Product(3, 23, 11): 1,
        Passes(5, 23): 3,
        Passes(3, 23): 1,
    }
    assert floor.head_pass(generator, 7) == {
        Product(rows, *shape): 1 for rows in (5, 2) for shape in ((23, 11), (11, 23))
    } | {Product(11, 23, rows): 1 for rows in (5, 2)}


def test_a_floor_is_done_as_often_as_it_is_counted(monkeypatch):
    done = []
    monkeypatch.setattr(
        floor._Buffers, "routines", lambda self, part: [lambda: done.append(part) or len(done)]
    )
    run, calls = floor.case(floor.Work({Product(2, 3, 5): 2, Passes(3, 7): 3}), torch.device("cpu"))
    run()
    assert calls == 1
    assert done == [Product(2, 3, 5)] * 2 + [Passes(3, 7)] * 3


def test_every_routine_of_a_product_is_that_product():
    for part in (Product(2, 3, 5), Product(2, 3, 5, batch=7), Product(1, 3, 5, batch=7)):
        buffers = floor._Buffers(floor.Work([part]), torch.device("cpu"))
        batch = part.batch
        left, right = buffers.left.view(batch, -1, 5), buffers.right
        either = right.view(batch, 3, 5).transpose(1, 2), right.view(batch, 5, 3)
        for routine in buffers.routines(part):
            found = routine().view(batch, -1, 3)
            assert any(torch.allclose(found, left @ each, rtol=1e-5, atol=1e-6) for each in either)


def test_the_rows_that_rollouts_read_are_the_published_count():
    # 3 sentences of 5 tokens, 2 rollouts: as 3 · (5 - 1) prefixes grow, 3, 3, 3 + 6, 3 + 12, 3 + 18 rows.
    generator, discriminator = networks()
    tokens = sample(generator, 3, 5).tokens
    with floor.rows_read(generator, "hidden", 5) as rows:
        rollout_rewards(generator, tokens, discriminator, 2)
        rollout_rewards(generator, tokens, discriminator, 2)
    assert rows == [3, 3, 9, 15, 21]
    assert "hidden" not in vars(generator)


def test_varied_sentences_end_after_a_third():
    task = speed._Task(speed.Sizes(599, 13, 7, 11, 31), "lstm", "varied", torch.device("cpu"))
    tokens = task.sample(task.generator, 31)
    assert torch.equal(tokens, task.sample(task.generator, 31))
    lengths = (tokens != PAD).sum(dim=1)
    assert int(lengths.min()) >= 5
    assert len(lengths.unique()) > 5
    assert int((task.sentences(torch.device("cpu")) != PAD).sum(dim=1).min()) == 4


def test_kept_rows_are_replaced_by_newer_ones_of_the_same_kind(tmp_path):
    def row(seconds: float, what: str = "gru") -> Row:
        return Row("sampling", "sentences", 64, None, Timing(seconds, seconds, seconds), what=what)

    about = {"instructions": "AVX2", "device": "cpu", "threads": 1}
    kept = speed_results.add({}, [row(3), row(5, "lstm")], about)
    kept = speed_results.add(kept, [row(7)], about)
    kept = speed_results.add(kept, [row(11)], about | {"threads": 2})
    kept = speed_results.add(kept, [row(13)], about | {"instructions": "AVX512"})
    kept = speed_results.add(kept, [row(17)], about | {"options": {"batch": 3}})
    speed_results.write(tmp_path / "results.json", kept)
    kept = speed_results.read(tmp_path / "results.json")
    found = {name: [each["ours"]["median"] for each in rows] for name, rows in kept.items()}
    assert found == {"AVX2": [5, 7, 11, 17], "AVX512": [13]}
    assert speed_results.elsewhere(kept, "AVX512") == ["AVX2: 4 rows kept", "DEFAULT: not measured"]
    assert speed_results.read(tmp_path / "none.json") == {}
    for text in ("[]", '{"AVX2": [3]}', "no JSON"):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(UserError, match="holds no results of 'seqgen bench speed'; name another"):
            speed_results.read(tmp_path / "other.json")


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


@pytest.mark.parametrize("lengths", speed.LENGTHS)
@pytest.mark.parametrize("cell", speed.CELLS)
def test_run_makes_a_row_of_every_task(cell, lengths):
    sizes = replace(TINY, hidden=8) if cell == "transformer" else TINY
    rows = speed.run(sizes, torch.device("cpu"), cell=cell, lengths=lengths, repeats=1)
    assert [row.task for row in rows] == ["pretraining step", "sampling", "adversarial update"]
    assert all(row.floor is not None and row.floor > 0 for row in rows)
    assert all((row.naive is None) == (lengths == "varied") for row in rows)
    assert {row.what for row in rows} == {f"{cell}, 23 / {sizes.hidden} / 5, {lengths}"}


def test_adversarial_updates_do_the_work_that_their_floor_counts(monkeypatch):
    found: list[list[torch.Tensor]] = []

    def watched(policy: Generator, tokens: torch.Tensor, *rest: object) -> torch.Tensor:
        rewards = rollout_rewards(policy, tokens, *rest)
        found.append([*(part.clone() for part in policy.state_dict().values()), tokens, rewards])
        return rewards

    monkeypatch.setattr(speed, "rollout_rewards", watched)
    speed.run(TINY, torch.device("cpu"), lengths="varied", repeats=3)
    assert len(found) > 3
    counted, *timed = found
    assert all(torch.equal(*pair) for each in timed for pair in zip(counted, each, strict=True))


def test_command_prints_a_table_or_json(tmp_path):
    sizes = {"vocab": 23, "length": 5, "embedding": 7, "hidden": 11, "batch": 3, "rollouts": 2, "repeats": 1}
    options = [
        "speed",
        "--sentences=0",
        "--no-sentence-vae",
        "--no-default-step",
        "--no-discriminators",
        f"--out={tmp_path}",
        "--lengths=fixed",
        *(f"--{name}={value}" for name, value in sizes.items()),
    ]
    result = CliRunner().invoke(app, options)
    assert result.exit_code == 0, result.output
    own = torch.backends.cpu.get_cpu_capability()
    assert f"{own}, cpu, 1 thread, torch {torch.__version__}; models by vocabulary" in result.output
    assert "lstm, 23 / 11 / 5, fixed" in result.output
    assert "adversarial update" in result.output
    assert "DEFAULT: not measured" in result.output
    assert len(json.loads((tmp_path / "results.json").read_text())[own]) == 3
    report = json.loads(CliRunner().invoke(app, [*options, "--json"]).stdout)
    assert report["instructions"] == own
    assert report["options"]["batch"] == 3
    assert report["threads"] == 1
    assert [row["task"] for row in report["rows"]] == ["pretraining step", "sampling", "adversarial update"]
    assert report["rows"][0]["ratio"] == pytest.approx(
        report["rows"][0]["ours_per_second"] / report["rows"][0]["naive_per_second"], rel=1e-6
    )


@pytest.mark.cuda
def test_run_on_cuda():
    assert len(speed.run(TINY, torch.device("cuda"), repeats=1)) == 3


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--sizes=huge", "no size 'huge'"),
        ("--cells=ltsm", "no cell 'ltsm'; did you mean 'lstm'?"),
        ("--lengths=even", "no kind of lengths 'even'"),
    ],
)
def test_unknown_names_are_refused(option, message):
    result = CliRunner().invoke(app, ["speed", option])
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)
