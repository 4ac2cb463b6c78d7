"""The contract, held by every algorithm of both registries, and what is particular to each."""

import math
from functools import partial

import pytest
import torch

from seqgen import algorithms
from seqgen.algorithms.configs import GeneratorConfig, policy_gradients
from seqgen.algorithms.mle import calibrate, mean_nll, nll_and_states
from seqgen.algorithms.seqgan import SeqGAN
from seqgen.core import optim, settings
from seqgen.core.errors import UserError
from seqgen.data.batches import Batches, pack
from seqgen.data.tokenizer import BOS, EOS, PAD, UNK
from seqgen.functional import contrastive_losses
from seqgen.generation.contrastive_search import ContrastiveSearch

V, LENGTH = 13, 7
SMALL = {"generator.embedding": 5, "generator.hidden": 11, "generator.dropout": 0.1, "batch_size": 3}
GAME = {
    "d_first": 1,
    "d_steps": 2,
    "rollouts": 2,
    "discriminator.embedding": 5,
    "discriminator.hidden": 7,
    "bonus": 0.1,
}
LATENT = {"encoder.embedding": 5, "encoder.hidden": 7, "code": 3}
VARIANTS = [
    ("mle", {}),
    ("mle", {"generator.cell": "gru", "generator.layers": 2, "generator.tied": True}),
    ("mle", {"generator.attention": True}),
    ("mle", {"contrastive.weight": 1.0, "contrastive.margin": 0.9}),
    ("sentence-vae", {}),
    ("sentence-vae", {"penalty": "kl", "anneal": "cyclical", "encoder.bidirectional": False}),
    ("sentence-vae", {"penalty": "hinge", "aggressive": 3, "window": 1, "encoder.cell": "gru"}),
    ("sentence-vae", {"penalty": "target", "warm_start": 0.5, "word_dropout": 0.3, "generator.layers": 2}),
    ("autoencoder", {}),
    ("autoencoder", {"blank": 0.2, "generator.cell": "gru", "generator.attention": True}),
    ("denoising-autoencoder", {"encoder.dropout": 0.0}),
    ("seqgan", {}),
    ("seqgan", {"discriminator.kind": "rnn", "generator.layers": 2}),
    ("seqgan", {"generator.cell": "gru", "baseline": "batch_mean", "normalise": False, "max_rows": 11}),
    (
        "seqgan",
        {
            "discriminator.kind": "rnn",
            "discriminator.bidirectional": True,
            "discriminator.cell": "lstm",
            "baseline": "learned",
        },
    ),
    ("seqgan", {"discriminator.kind": "cnn", "discriminator.filters": 0.02, "baseline": "none"}),
    ("seqgan", {"discriminator.loss": "least_squares", "generator.attention": True, "hold_entropy": 0.0}),
    ("contrastive", {}),
    ("contrastive", {"loss": "nt_xent", "view": "span", "generator.attention": True, "view_share": 0.4}),
    ("contrastive", {"loss": "ranking", "reward": "ranking", "view": "dropout", "generator.cell": "gru"}),
    (
        "contrastive",
        {"discriminator.kind": "rnn", "discriminator.bidirectional": True, "baseline": "learned"},
    ),
]


def build(name, values, seed=0):
    torch.manual_seed(seed)
    cls = algorithms.get(name)
    game, codes = name in algorithms.ADVERSARIAL, getattr(cls, "latent", False)
    given = SMALL | (GAME if game else {}) | (LATENT if codes else {}) | values
    algorithm = cls(settings.override(cls.Config(), given), vocab_size=V, length=LENGTH)
    algorithm.configure()
    return algorithm


def batch(rows=6, length=LENGTH, seed=1):
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, V, (rows, length), generator=rng)
    for row, end in enumerate(torch.randint(1, length, (rows,), generator=rng).tolist()):
        tokens[row, end] = EOS
        tokens[row, end + 1 :] = PAD
    return tokens


def run(algorithm, steps=3, batches=None):
    torch.manual_seed(5)
    return [algorithm.step(batch(seed=i) if batches is None else batches, i / steps) for i in range(steps)]


@pytest.mark.parametrize(("name", "values"), VARIANTS)
def test_figures_are_finite_and_every_parameter_moves(name, values):
    algorithm = build(name, values)
    before = {key: p.clone() for key, p in algorithm.named_parameters()}
    for figures in run(algorithm, steps=4):
        assert all(math.isfinite(float(value)) for value in figures.values()), figures
    still = {key.rpartition(".")[0] for key, p in algorithm.named_parameters() if torch.equal(p, before[key])}
    # The value head learns only where it is the baseline; the policy follows the generator. An autoencoder's
    # codes have no variance.
    idle = {"autoencoder": {"encoder.log_var"}, "denoising-autoencoder": {"encoder.log_var"}}
    if name in algorithms.ADVERSARIAL and values.get("baseline") != "learned":
        idle[name] = {"value.output"}
    assert still == idle.get(name, set())


@pytest.mark.parametrize(("name", "values"), VARIANTS)
def test_same_seed_same_weights_and_state_round_trip(name, values):
    one, two = build(name, values), build(name, values)
    run(one)
    run(two)
    other = build(name, values, seed=9)
    other.load_state_dict(one.state_dict())
    for mine, same, loaded in zip(one.parameters(), two.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, same)
        assert torch.equal(mine, loaded)


@pytest.mark.parametrize(("name", "values"), VARIANTS)
@pytest.mark.parametrize("tokens", [torch.full((4, 1), EOS), torch.tensor([[5, EOS], [EOS, PAD], [6, 7]])])
def test_the_shortest_batches(name, values, tokens):
    for figures in run(build(name, values), batches=tokens):
        assert all(math.isfinite(float(value)) for value in figures.values())


@pytest.mark.parametrize(("name", "values"), VARIANTS)
def test_evaluation_and_samples(name, values):
    algorithm = build(name, values)
    figures = algorithm.evaluate([batch(seed=2), batch(seed=3)])
    if algorithm.likelihood:
        assert figures["valid_nll"] == pytest.approx(math.log(figures["valid_ppl"]))
    assert 0 < figures["unique"] <= 1
    assert algorithm.should_stop(figures, figures) is None
    assert "valid_nll" not in algorithm.evaluate([])
    assert algorithm.samples(4).shape == (4, LENGTH)
    assert algorithm.sample(5, length=2).tokens.shape == (5, 2)
    assert algorithm.sample(5, search=ContrastiveSearch(sampled=2)).tokens.shape == (5, LENGTH)


def test_every_registry_entry_resolves_and_no_name_is_in_both():
    for registry in (algorithms.PRETRAIN, algorithms.ADVERSARIAL):
        for name in registry:
            assert algorithms.get(name, registry).__doc__
    assert not algorithms.PRETRAIN.keys() & algorithms.ADVERSARIAL.keys()
    with pytest.raises(UserError, match="no algorithm 'seqgn'; did you mean 'seqgan'"):
        algorithms.get("seqgn")


@pytest.mark.parametrize("name", [*algorithms.PRETRAIN, *algorithms.ADVERSARIAL])
def test_every_setting_has_a_help_text(name):
    assert all(text for _, _, _, text in settings.describe(algorithms.get(name).Config))


def test_nll_does_not_depend_on_padding():
    algorithm = build("mle", {})
    algorithm.eval()
    tokens = batch()
    wider = torch.cat((tokens, torch.full((6, 5), PAD)), dim=1)
    assert mean_nll(algorithm.generator, tokens).item() == pytest.approx(
        mean_nll(algorithm.generator, wider).item(), abs=1e-6
    )


def test_mean_nll_is_the_closed_form_of_a_uniform_model():
    algorithm = build("mle", {})
    with torch.no_grad():
        for parameter in algorithm.parameters():
            parameter.zero_()
    # PAD and BOS are ruled out: every one of the V - 2 others is as likely
    assert mean_nll(algorithm.generator, batch()).item() == pytest.approx(math.log(V - 2), abs=1e-6)


def test_the_discriminator_learns_alone_first_and_each_update_moves_its_own():
    algorithm = build("seqgan", {"d_first": 1})
    generator = [p.clone() for p in algorithm.generator.parameters()]
    figures = algorithm.step(batch(), 0.0)
    assert figures.keys() == {"d_loss", "d_accuracy"}
    assert all(torch.equal(p, q) for p, q in zip(algorithm.generator.parameters(), generator, strict=True))
    discriminator = [p.clone() for p in algorithm.discriminator.parameters()]
    algorithm.move(batch(), 0.0, partial(algorithm.worth, real=batch()))
    assert all(
        torch.equal(p, q) for p, q in zip(algorithm.discriminator.parameters(), discriminator, strict=True)
    )
    assert all(p.grad is None for p in algorithm.parameters())


def test_a_game_starts_from_the_generator_and_so_does_its_discriminator():
    start, algorithm = build("mle", {}, seed=3), build("seqgan", {})
    algorithm.start_from(start)
    pretrained = start.generator
    for player in (algorithm.generator, algorithm.policy):
        assert all(
            torch.equal(p, q) for p, q in zip(player.parameters(), pretrained.parameters(), strict=True)
        )
    assert torch.equal(algorithm.discriminator.embedding.weight, pretrained.embedding.weight)
    assert torch.equal(algorithm.discriminator.rnn.weight_hh_l0, pretrained.rnn.weight_hh_l0)


def test_the_game_knows_no_unknown_words():
    algorithm = build("seqgan", {"d_first": 0})
    seen = []
    read = algorithm.discriminator.forward
    algorithm.discriminator.forward = lambda tokens: seen.append(tokens) or read(tokens)
    real = batch(rows=31)
    real[:17, 0] = UNK
    algorithm.step(real[:6], 0.0)  # every real row has one: they are kept rather than none
    algorithm.step(real[17:23], 0.0)
    assert not any((tokens == UNK).any() for tokens in seen[-4:])
    algorithm.discriminate(real, algorithm.write(31))
    assert len(seen[-2]) == 31 - 17


def test_policy_gradients_switch_dropout_off_and_back():
    generator = GeneratorConfig(embedding=5, hidden=7, layers=2, dropout=0.5).build(V).train()
    tokens = batch()
    with policy_gradients(generator):
        one, _ = generator.hidden(tokens, generator.initial(6))
        two, _ = generator.hidden(tokens, generator.initial(6))
        assert one.requires_grad
    assert torch.equal(one, two)
    assert generator.training
    assert generator.rnn.dropout == 0.5
    three, _ = generator.hidden(tokens, generator.initial(6))
    assert not torch.equal(one, three)


def test_maximum_likelihood_learns_a_language_of_known_entropy():
    # Three tokens, then EOS: the first uniform over 4, the second determined by it, the third uniform over 2.
    rng = torch.Generator().manual_seed(0)
    first = torch.randint(4, 8, (600, 1), generator=rng)
    third = torch.randint(4, 6, (600, 1), generator=rng)
    tokens = torch.cat((first, first + 4, third, torch.full((600, 1), EOS)), dim=1)
    floor = (math.log(4) + math.log(2)) / 4
    values = {"batch_size": 20, "generator.hidden": 23, "generator.dropout": 0.0, "lr": 1e-2}
    for seed in range(3):
        algorithm = build("mle", values, seed=seed)
        batches = Batches(pack(tokens.tolist()), 20, seed=seed)
        for i in range(300):
            algorithm.step(next(batches), i / 300)
        assert algorithm.evaluate([tokens])["valid_nll"] < 1.03 * floor


@pytest.mark.cuda
@pytest.mark.parametrize(("name", "values"), VARIANTS)
def test_a_step_on_cuda(name, values):
    algorithm = build(name, values).cuda()
    algorithm.configure()
    for bf16 in (False, True):
        if hasattr(algorithm.config, "bf16"):
            algorithm.config = settings.override(algorithm.config, {"bf16": bf16})
        for i in range(3):
            figures = algorithm.step(batch(seed=i).cuda(), i / 3)
            assert all(math.isfinite(float(value)) for value in figures.values())
    assert next(iter(algorithm.generator.parameters())).is_cuda
    assert isinstance(algorithm, SeqGAN) or optim.adamw(algorithm, lr=0.1)


def test_calibration_finds_the_temperature_of_least_nll():
    algorithm = build("mle", {"generator.dropout": 0.0, "calibration": 1.0, "generator.tied": True})
    generator = algorithm.generator.eval()
    with torch.no_grad():
        generator.head.weight.mul_(20)  # logits far apart, so that the temperature matters
    truth = generator.head.weight.detach().clone()
    torch.manual_seed(4)
    logits, _ = generator(batch(), generator.initial(6))
    # A generator that draws from its own logits / 1.1 is best calibrated by 1.1.
    generator.head.scale.fill_(1 / 1.1)
    held_out = algorithm.sample(4000).tokens
    assert calibrate(generator, [held_out], share=1.0) == pytest.approx(1.1, rel=0.02)
    assert calibrate(generator, [held_out], share=0.5) == pytest.approx(1.1**0.5, rel=0.01)
    assert torch.equal(generator.head.weight, truth)  # the shared matrix is still the embedding
    generator.head.scale.fill_(0.5)
    halved, _ = generator(batch(), generator.initial(6))
    assert torch.allclose(halved[..., 2:], logits[..., 2:] / 2, atol=1e-5)
    assert calibrate(generator, [held_out], share=0.0) == 1.0
    assert calibrate(generator, [], share=1.0) == 1.0


def test_training_goes_on_from_weights_that_are_not_calibrated():
    one, two = build("mle", {}), build("mle", {})
    two.evaluate([batch(seed=3)])
    run(one)
    run(two)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))


def test_what_is_left_to_the_corpus_is_fitted_to_its_size():
    def fitted(sentences, **values):
        config = settings.override(algorithms.get("mle").Config(), values).fitted(sentences)
        return config.generator.dropout, config.weight_decay, config.epochs

    assert fitted(100) == fitted(10_000) == (0.55, 0.05, 25)
    assert fitted(30_000) == (0.1, 0.01, 20)
    assert fitted(60_000) == (0.1, 0.01, 10)
    assert fitted(10_000_000) == (0.1, 0.01, 3)
    # the square root of 3 is half way in the logarithm
    assert fitted(17_321)[:2] == (pytest.approx(0.325, abs=1e-3), pytest.approx(0.03, abs=1e-3))
    assert fitted(30_000, dropout=0.3, epochs=2, weight_decay=0.0) == (0.3, 0.0, 2)
    with pytest.raises(UserError, match="dropout is not set"):
        algorithms.get("mle")(algorithms.get("mle").Config(), vocab_size=V, length=LENGTH)


def test_a_token_weighs_the_same_in_batches_of_short_and_of_long_sentences():
    algorithm = build("mle", {"generator.dropout": 0.0})
    short = torch.tensor([[5, EOS]] * 3)
    long = torch.tensor([[5, 6, 7, 8, 9, EOS]] * 3)
    moved = []
    optim_update = optim.update

    def record(losses, clip):
        moved.append(float(next(iter(losses.values())).detach()))
        return optim_update(losses, clip=clip)

    algorithm.usual_tokens.fill_(12.0)
    algorithm.batches_seen.fill_(1e9)  # the mean of 12 tokens a batch is settled
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(optim, "update", record)
        nlls = [algorithm.step(tokens, 0.0)["nll"] for tokens in (short, long)]
    # 6 tokens of a usual 12, then 18 of 12
    assert moved == pytest.approx([float(nlls[0]) * 6 / 12, float(nlls[1]) * 18 / 12], rel=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.7])
def test_the_contrastive_loss_is_added_with_its_weight(weight, monkeypatch):
    algorithm = build(
        "mle", {"generator.dropout": 0.0, "contrastive.weight": weight, "contrastive.margin": 1.1}
    )
    moved = []

    def record(losses, clip):
        moved.extend(float(loss.detach()) for loss in losses.values())
        return {optimizer: 0.0 for optimizer in losses}

    monkeypatch.setattr(optim, "update", record)
    figures = algorithm.step(batch(), 0.5)
    read = torch.cat((torch.full((6, 1), BOS), batch()[:, :-1]), dim=1)
    with torch.no_grad():
        states, _ = algorithm.generator.hidden(read, algorithm.generator.initial(6))
    mask = batch() != PAD
    spread = contrastive_losses.token_contrastive(states, mask, margin=1.1)
    assert moved == [pytest.approx(float(figures["nll"] + weight * spread), rel=1e-5)]
    assert ("contrastive" in figures) == (weight > 0)
    if weight:
        assert float(figures["contrastive"]) == pytest.approx(float(spread), rel=1e-5)
        assert float(figures["anisotropy"]) == pytest.approx(
            float(contrastive_losses.anisotropy(states, mask)), abs=1e-6
        )


def test_the_contrastive_loss_parts_the_representations():
    one, other = (build("mle", {"contrastive.weight": w, "contrastive.margin": 1.0}) for w in (0.0, 3.0))
    likeness = []
    for algorithm in (one, other):
        run(algorithm, steps=60)
        algorithm.eval()
        with torch.no_grad():
            _, states = nll_and_states(algorithm.generator, batch())
        likeness.append(float(contrastive_losses.anisotropy(states, batch() != PAD)))
    assert likeness[1] < likeness[0] - 0.05
