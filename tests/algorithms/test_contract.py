"""The contract, held by every algorithm of both registries with each of its examples."""

import inspect
import math
from pathlib import Path

import pytest
import torch
from helpers import (
    GENERATOR_KINDS,
    LENGTH,
    OneDevice,
    V,
    all_finite,
    batch,
    build,
    config,
    examples,
    moved,
    padded,
    run,
    sentences,
    weights,
    without_compaction,
)

from seqgen import algorithms
from seqgen.algorithms.adversary import Adversary
from seqgen.algorithms.base import TextAlgorithm, TrainingConfig
from seqgen.algorithms.regularisation import TextSize
from seqgen.algorithms.tuned_generator import TunedGenerator
from seqgen.core import device, optim, settings
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import BOS, EOS, PAD, UNK
from seqgen.generation.contrastive_search import ContrastiveSearch
from seqgen.models.base import GeneratorConfig
from seqgen.training import run_folder

REGISTRY = algorithms.PRETRAIN | algorithms.ADVERSARIAL
EXAMPLES = list(examples())
NAMES = [f"{name}-{i}" for i, (name, _) in enumerate(EXAMPLES)]
every = pytest.mark.parametrize(("name", "values"), EXAMPLES, ids=NAMES)
every_name = pytest.mark.parametrize("name", REGISTRY)
SHORT = {
    "only EOS": torch.full((4, 1), EOS),
    "two tokens": torch.tensor([[5, EOS], [EOS, PAD], [6, 7]]),
    "only unknown": torch.tensor([[UNK, EOS]]),
}
NO_CHANCE = {
    "generator.dropout": 0.0,
    "encoder.dropout": 0.0,
    "discriminator.dropout": 0.0,
    "critic.dropout": 0.0,
    "mask_rate": 0.0,
    "delete_rate": 0.0,
    "shuffle_distance": 0.0,
    "word_dropout": 0.0,
    "encoder_word_dropout": 0.0,
    "discriminator_pretraining_steps": 0,
    "critic.pretraining_steps": 0,
    "losses.gradient_penalty": 0.0,
}
"""Settings under which nothing is left to chance that depends on the padding.

AEGAN's gradient penalty is off, too: the strongest windows of padding are alike, and the maximum shares its
gradient among them, so the penalty depends a little on how many there are.
"""


@every
def test_metrics_are_finite_and_every_parameter_moves(name, values):
    algorithm = build(name, values)
    before = weights(algorithm)
    for metrics in run(algorithm):
        assert all_finite(metrics), metrics
    still = before.keys() - moved(algorithm, before)
    assert not [each for each in still if not each.startswith(algorithm.idle_parameters)]
    assert all(parameter.grad is None for parameter in algorithm.parameters())


@every_name
def test_what_is_named_idle_is_idle_in_an_example(name):
    cls = REGISTRY[name].cls
    idle = {prefix: False for prefix in cls.idle_parameters}
    for values in cls.examples if idle else ():
        algorithm = build(name, values)
        before = weights(algorithm)
        run(algorithm, 2)
        changed = moved(algorithm, before)
        for prefix in idle:
            named = {each for each in before if each.startswith(prefix)}
            idle[prefix] |= bool(named) and not named & changed
    assert all(idle.values()), idle


@every
def test_same_seed_same_weights_and_the_state_comes_back(name, values, tmp_path):
    one, two = build(name, values), build(name, values)
    run(one, 2)
    run(two, 2)
    loaded, read_back = build(name, values, seed=9), build(name, values, seed=9)
    loaded.load_state_dict(one.state_dict())
    kept = run_folder.create(tmp_path / "run", {})
    run_folder.save_weights(kept, one.state_dict())
    run_folder.load_into(read_back, kept)
    for key, mine in one.state_dict().items():
        for other in (two, loaded, read_back):
            torch.testing.assert_close(other.state_dict()[key], mine, rtol=0, atol=0, equal_nan=True)


@every
def test_training_goes_on_bit_for_bit_from_a_saved_state(name, values):
    whole, first, second = build(name, values), build(name, values), build(name, values, seed=9)
    run(whole, 3)
    torch.manual_seed(5)
    for i in range(2):
        first.step(batch(seed=i), i / 3)
    second.load_state_dict(first.state_dict())
    for key, optimizer in second.optimizers.items():
        optimizer.load_state_dict(first.optimizers[key].state_dict())
    second.step(batch(seed=2), 2 / 3)
    assert not moved(second, weights(whole))


ADVERSARIES = [each for each in EXAMPLES if issubclass(REGISTRY[each[0]].cls, Adversary)]


@pytest.mark.parametrize(("name", "values"), ADVERSARIES)
def test_the_loss_of_each_network_moves_that_network_alone(name, values):
    algorithm = build(name, values)
    state = {key: part.clone() for key, part in algorithm.discriminator.state_dict().items()}
    before = weights(algorithm)
    algorithm.generator_step(batch(), 0.5, sentences(seed=2))
    parts = {each.split(".")[0] for each in moved(algorithm, before)}
    assert "generator" in parts
    assert "discriminator" not in parts
    for key, part in algorithm.discriminator.state_dict().items():
        assert torch.equal(part, state[key]), key  # nor its buffers
    before = weights(algorithm)
    algorithm.discriminator_step(sentences(), algorithm.generate(5))
    assert {each.split(".")[0] for each in moved(algorithm, before)} == {"discriminator"}
    assert all(parameter.grad is None for parameter in algorithm.parameters())


@every
@pytest.mark.parametrize("tokens", SHORT.values(), ids=SHORT)
def test_the_shortest_batches(name, values, tokens):
    for metrics in run(build(name, values), 2, given=Batch(tokens)):
        assert all_finite(metrics), metrics


@every
def test_sentences_of_two_tokens_at_most(name, values):
    algorithm = build(name, values, length=2)
    for metrics in run(algorithm, 2, given=Batch(torch.tensor([[5, EOS], [6, EOS], [EOS, PAD]]))):
        assert all_finite(metrics), metrics
    assert algorithm.samples(5).shape == (5, 2)


@every
def test_reports(name, values):
    algorithm = build(name, values)
    run(algorithm, 2)
    report = algorithm.evaluate([batch(seed=2), batch(seed=3)])
    assert all_finite(report), report
    assert report.keys() >= {"unique", "distinct_tokens", "sample_nll"}
    assert algorithm.monitor is None or algorithm.monitor in report
    assert algorithm.should_stop(report, report) is None
    assert 0 < report["unique"] <= 1
    if algorithm.likelihood:
        assert report["valid_nll"] == pytest.approx(math.log(report["valid_ppl"]))
        assert algorithm.log_likelihood(sentences()).shape == (6,)
    assert not {"valid_nll", "valid_recon"} & algorithm.evaluate([]).keys()


@every
def test_samples_hold_no_token_that_is_forbidden_and_end_with_padding(name, values):
    algorithm = build(name, values)
    with torch.no_grad():
        algorithm.generator.head.offset[[PAD, BOS, UNK]] = 100.0  # what it would like most
        algorithm.generator.head.offset[EOS] = 1.0
    for options in ({}, {"search": ContrastiveSearch(sampled=2, penalty=0.2)}):
        tokens = algorithm.sample(97, forbid=(UNK,), **options).tokens
        assert tokens.shape == (97, LENGTH)
        assert not torch.isin(tokens, torch.tensor([BOS, UNK])).any()
        after_the_end = (tokens == EOS).int().cumsum(dim=1) - (tokens == EOS).int() > 0
        assert torch.equal(tokens == PAD, after_the_end)
        assert after_the_end.any()
    assert algorithm.sample(5, length=2).tokens.shape == (5, 2)
    if isinstance(algorithm, TunedGenerator):
        assert not torch.isin(algorithm.generate(97), torch.tensor([BOS, UNK])).any()


@every
def test_more_padding_changes_no_loss(name, values, monkeypatch):
    known = {key for key, *_ in settings.describe(type(config(name, values)), config(name, values))}
    fixed = {key: value for key, value in NO_CHANCE.items() if key in known}

    def losses(tokens):
        algorithm = build(name, values | fixed)
        seen = []

        def record(given, clip=None):
            seen.extend(float(loss.detach()) for loss in given.values())
            return dict.fromkeys(given, 0.0)

        monkeypatch.setattr(optim, "update", record)
        (metrics,) = run(algorithm, 1, given=Batch(tokens))
        return seen, {key: float(value) for key, value in metrics.items()}

    (one, metrics), (other, with_padding) = losses(sentences()), losses(padded(sentences()))
    assert one
    assert other == pytest.approx(one, rel=1e-4, abs=1e-6)
    assert with_padding == pytest.approx(metrics, rel=1e-4, abs=1e-6)


@every_name
@pytest.mark.parametrize("kind", GENERATOR_KINDS)
def test_every_kind_of_generator_serves_every_algorithm(name, kind):
    algorithm = build(name, {"generator.kind": kind})
    assert type(algorithm.generator).__name__ == GeneratorConfig.of_kind(kind).generator_class.split(":")[1]
    before = weights(algorithm)
    for metrics in run(algorithm, 2):
        assert all_finite(metrics), metrics
    still = {each for each in before if each.startswith("generator.")} - moved(algorithm, before)
    assert not still or "generator." in algorithm.idle_parameters
    tokens = algorithm.sample(11, search=ContrastiveSearch(sampled=2)).tokens
    assert tokens.shape == (11, LENGTH)
    given = settings.to_dict(algorithm.config)  # as a run's folder keeps it
    assert settings.from_dict(algorithm.Config, given) == algorithm.config


@every_name
def test_every_registry_entry_resolves_and_its_settings_build(name):
    entry = algorithms.get(name)
    assert issubclass(entry.cls, TextAlgorithm)
    assert entry.cls.__doc__
    built = settings.override(entry.config(), {"generator.dropout": 0.1}).fitted(
        TextSize(10_000, 100_000, 1_001)
    )
    assert isinstance(built, TrainingConfig)
    assert isinstance(built, entry.cls.Config)
    assert built.total_steps(7) > 0
    assert built.read_size >= built.batch_size
    for key, value in entry.presets.items():
        assert getattr(built, key) == value
    assert entry.cls(built, vocab_size=V, length=LENGTH).generator.vocab_size == V


def test_no_name_is_in_both_registries_and_a_wrong_one_names_the_nearest():
    assert not algorithms.PRETRAIN.keys() & algorithms.ADVERSARIAL.keys()
    assert algorithms.get("mle", algorithms.PRETRAIN) is algorithms.PRETRAIN["mle"]
    with pytest.raises(UserError, match="no algorithm 'seqgn'; did you mean 'seqgan'"):
        algorithms.get("seqgn")
    with pytest.raises(UserError, match="give 'seqgen pretrain mle'"):
        algorithms.get("mle", algorithms.ADVERSARIAL)


@every_name
@pytest.mark.parametrize("kind", GENERATOR_KINDS)
def test_every_setting_has_a_help_text(name, kind):
    small = config(name, {"generator.kind": kind})
    assert all(text for _, _, _, text in settings.describe(type(small), small))


@every
def test_nothing_waits_for_an_accelerator_or_is_float64_on_mps(name, values, monkeypatch):
    """On torch's meta device a look at a value raises an error, and so does a CPU tensor beside others."""
    monkeypatch.setattr(device, "WITHOUT_FLOAT64", {"meta"})
    if values.get("aggressive"):
        pytest.skip("aggressive training decides by the losses themselves")
    algorithm = build(name, values).to("meta")
    algorithm.configure()
    tokens = torch.empty_like(batch().tokens, device="meta")
    for i in range(3):
        with OneDevice():
            metrics = algorithm.step(Batch(tokens), i / 3)
        assert any(value.is_meta for value in metrics.values() if isinstance(value, torch.Tensor))
    with OneDevice():
        assert algorithm.sample(5, temperature=0.7, min_length=2).tokens.shape == (5, LENGTH)
        if algorithm.likelihood:
            assert algorithm.log_likelihood(tokens).is_meta


@pytest.mark.parametrize("name", algorithms.PRETRAIN)
def test_a_step_with_masks_is_that_without_the_padding(name, monkeypatch):
    def stepped() -> dict[str, torch.Tensor]:
        chance = {"generator.dropout": 0.0, "encoder.dropout": 0.0}
        known = {key: value for key, value in chance.items() if name != "mle" or "encoder" not in key}
        algorithm = build(name, known)
        torch.manual_seed(5)
        for i in range(3):
            algorithm.step(batch(seed=i), i / 3)
        return weights(algorithm)

    compacted = stepped()
    without_compaction(monkeypatch)
    for key, weight in stepped().items():
        torch.testing.assert_close(weight, compacted[key], rtol=1e-4, atol=1e-5, msg=key)


@every_name
def test_a_step_in_bfloat16_on_the_cpu(name):
    algorithm = build(name, dict(EXAMPLES)[name] | {"bf16": True})
    before = weights(algorithm)
    for metrics in run(algorithm, 2):
        assert all_finite(metrics), metrics
    assert moved(algorithm, before)


@pytest.mark.cuda
@every
def test_a_step_on_cuda(name, values):
    for bf16 in (False, True):
        algorithm = build(name, values | {"bf16": bf16}).cuda()
        algorithm.configure()
        for i in range(3):
            assert all_finite(algorithm.step(batch(seed=i).to("cuda"), i / 3))
        assert next(iter(algorithm.generator.parameters())).is_cuda


def test_every_adversarial_algorithm_is_in_one_group_of_the_help():
    grouped = [name for names in algorithms.GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(algorithms.ADVERSARIAL)


LONGER = {"leakgan": 200, "catgan": 200, "seqgan": 180, "residual": 350, "aegan": 400}
"""Lines of what is more than one idea: a manager, an evolution, the user's reward, a calibration, cycles."""


@pytest.mark.parametrize("name", algorithms.ADVERSARIAL)
def test_the_file_of_an_algorithm_is_short(name):
    source = Path(inspect.getfile(algorithms.ADVERSARIAL[name].cls))
    assert len(source.read_text(encoding="utf-8").splitlines()) < LONGER.get(name, 100)
