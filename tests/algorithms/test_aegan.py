"""The autoencoding game: what each loss moves, where it starts, its energy, resuming, short batches."""

import math

import pytest
import torch

from seqgen import algorithms
from seqgen.algorithms.autoencoder import Autoencoder
from seqgen.algorithms.sentence_vae import SentenceVAE
from seqgen.core import settings
from seqgen.core.errors import UserError
from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.generation.sample import log_prob

V, LENGTH, Z = 13, 7, 3
PARTS = {
    "generator.embedding": 5,
    "generator.hidden": 11,
    "generator.dropout": 0.1,
    "encoder.embedding": 5,
    "encoder.hidden": 7,
    "code": Z,
}
SMALL = PARTS | {
    "batch_size": 6,
    "written": 5,
    "critic.filters": 3,
    "critic.hidden": 5,
    "critic.first": 1,
    "critic.penalty_every": 2,
    "derivatives": 0.1,
}
OFF = {
    "cross_entropy": 0,
    "adversarial": 0,
    "adversarial_codes": 0,
    "losses.penalty": 0,
    "contrastive": 0,
    "derivatives": 0,
}
VARIANTS = [
    {},
    {"relax": "gumbel", "critic.game": "hinge", "generator.attention": True},
    {"relax": "policy_gradient", "critic.game": "energy", "pairing": "logistic"},
    {"generator.cell": "gru", "generator.layers": 2, "encoder.bidirectional": False, "word_dropout": 0.3},
]


def build(values=None, seed=0):
    torch.manual_seed(seed)
    cls = algorithms.get("aegan")
    algorithm = cls(settings.override(cls.Config(), SMALL | (values or {})), vocab_size=V, length=LENGTH)
    algorithm.configure()
    return algorithm


def batch(rows=6, seed=1):
    rng = torch.Generator().manual_seed(seed)
    tokens = torch.randint(4, V, (rows, LENGTH), generator=rng)
    for row, end in enumerate(torch.randint(1, LENGTH, (rows,), generator=rng).tolist()):
        tokens[row, end] = EOS
        tokens[row, end + 1 :] = PAD
    return tokens


def run(algorithm, steps=4):
    torch.manual_seed(5)
    return [algorithm.step(batch(seed=i), i / steps) for i in range(steps)]


def moved(algorithm, steps=4):
    before = {key: p.clone() for key, p in algorithm.named_parameters()}
    run(algorithm, steps)
    return {key for key, p in algorithm.named_parameters() if not torch.equal(p, before[key])}


def module(key):
    return key.rpartition(".")[0]


@pytest.mark.parametrize("values", VARIANTS)
def test_figures_are_finite_and_every_parameter_moves_but_the_spread_of_codes(values):
    algorithm = build(values)
    names = {module(key) for key, _ in algorithm.named_parameters()}
    assert {module(key) for key in moved(algorithm)} == names - {"encoder.log_var"}
    for figures in run(algorithm):
        assert all(math.isfinite(float(value)) for value in figures.values()), figures
    assert figures.keys() >= {"cross_entropy", "adversarial", "adversarial_codes", "contrastive"}
    assert all(p.grad is None for p in algorithm.parameters())


@pytest.mark.parametrize(
    ("loss", "values", "players"),
    [
        ("cross_entropy", {}, {"generator", "encoder"}),
        ("adversarial_codes", {}, {"encoder", "critics.codes"}),
        ("adversarial", {"critic.first": 0}, {"generator", "critics.sentences"}),
        ("adversarial", {"critic.first": 0, "relax": "gumbel"}, {"generator", "critics.sentences"}),
        ("adversarial", {"critic.first": 0, "relax": "policy_gradient"}, {"generator", "critics.sentences"}),
        ("contrastive", {}, {"generator", "encoder"}),
        ("contrastive", {"relax": "policy_gradient"}, {"encoder"}),
        ("derivatives", {}, {"generator"}),
        ("penalty", {}, set()),
    ],
)
def test_each_loss_moves_only_its_own(loss, values, players):
    algorithm = build(OFF | {f"losses.{loss}": 0.5, "weight_decay": 0, "critic.weight_decay": 0} | values)
    names = (key.split(".") for key in moved(algorithm, steps=1))
    assert {".".join(name[: 1 + (name[0] == "critics")]) for name in names} == players


def test_the_penalty_moves_the_critics_alone_and_only_when_it_is_due():
    values = {"losses.penalty": 1.0, "adversarial": 1e-12, "adversarial_codes": 1e-12, "critic.first": 0}
    algorithm = build(OFF | values)
    seen = []
    slopes = algorithm.critics.sentences.slope_penalty
    algorithm.critics.sentences.slope_penalty = lambda *shown: seen.append(shown) or slopes(*shown)
    run(algorithm, steps=5)
    assert len(seen) == 3  # steps 0, 2 and 4
    assert not any(part.requires_grad for shown in seen for part in shown)


def test_the_spread_of_codes_is_given_and_has_no_gradient():
    algorithm = build().eval()
    trunk = [*algorithm.encoder.embedding.parameters(), *algorithm.encoder.forwards.parameters()]
    mean = torch.autograd.grad(algorithm.encoder(batch())[0].sum(), trunk)
    drawn = torch.autograd.grad(algorithm._codes(batch()).sum(), trunk)
    for mine, theirs in zip(drawn, mean, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_the_critic_of_sentences_learns_first():
    figures = run(build({"critic.first": 2}))
    assert ["adversarial" in each for each in figures] == [False, False, True, True]
    assert all("critic_loss" in each for each in figures)


@pytest.mark.parametrize("values", VARIANTS)
def test_same_seed_same_weights_and_a_resumed_run_is_bit_identical(values):
    whole, first = build(values), build(values)
    run(whole)
    torch.manual_seed(5)
    for i in range(2):
        first.step(batch(seed=i), i / 4)
    drawn = torch.get_rng_state()
    second = build(values, seed=9)
    torch.set_rng_state(drawn)
    second.load_state_dict(first.state_dict())
    for name, optimizer in second.optimizers.items():
        optimizer.load_state_dict(first.optimizers[name].state_dict())
    for i in range(2, 4):
        second.step(batch(seed=i), i / 4)
    for mine, theirs in zip(second.state_dict().values(), whole.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("values", VARIANTS)
@pytest.mark.parametrize(
    "tokens",
    [torch.full((4, 1), EOS), torch.tensor([[5, EOS], [EOS, PAD], [6, 7]]), torch.tensor([[UNK, EOS]])],
)
def test_the_shortest_batches(values, tokens):
    algorithm = build(values)
    for i in range(3):
        figures = algorithm.step(tokens, i / 3)
        assert all(math.isfinite(float(value)) for value in figures.values())
    assert algorithm.energy(tokens).isfinite().all()


def test_sentences_of_two_tokens_and_of_none_but_the_end():
    torch.manual_seed(0)
    cls = algorithms.get("aegan")
    algorithm = cls(settings.override(cls.Config(), SMALL), vocab_size=V, length=2)
    algorithm.configure()
    with torch.no_grad():
        algorithm.generator.head.offset[EOS] = 50.0
    for i in range(3):
        figures = algorithm.step(torch.tensor([[5, EOS], [6, EOS]]), i / 3)
        assert all(math.isfinite(float(value)) for value in figures.values())


def pretrained(cls, **values):
    torch.manual_seed(3)
    config = settings.override(cls.Config(), PARTS | {"batch_size": 6} | values)
    algorithm = cls(config, vocab_size=V, length=LENGTH)
    algorithm.configure()
    for i in range(20):
        algorithm.step(batch(seed=i), i / 20)
    return algorithm


def test_it_goes_on_from_an_autoencoder_whose_codes_become_the_priors():
    start, algorithm = pretrained(Autoencoder, lr=1e-2), build({"noise": 0.6})
    algorithm.start_from(start)
    tokens = batch(11)
    mean, log_var = algorithm.encoder.eval()(tokens)
    assert log_var.exp().flatten().tolist() == pytest.approx([0.36] * (11 * Z), rel=1e-5)
    # What its codes were turned to is undone: 0.8 L⁻¹ (z - mean).
    factor = torch.linalg.cholesky(start.code_cov + 1e-5 * torch.eye(Z))
    torch.testing.assert_close(
        mean / 0.8 @ factor.t() + start.code_mean, start.encode(tokens), rtol=1e-4, atol=1e-4
    )
    theirs = log_prob(start.generator.eval(), tokens, start.generator.state(start.encode(tokens)))
    mine = log_prob(algorithm.generator.eval(), tokens, algorithm.generator.state(mean / 0.8))
    torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    assert torch.equal(algorithm.critics.sentences.embedding.weight, start.encoder.embedding.weight)


def test_it_goes_on_from_codes_that_are_the_priors_as_they_are():
    for start in (pretrained(SentenceVAE), build(seed=4)):
        algorithm = build()
        algorithm.start_from(start)
        for part in ("generator", "encoder"):
            for mine, theirs in zip(
                getattr(algorithm, part).parameters(), getattr(start, part).parameters(), strict=True
            ):
                assert torch.equal(mine, theirs)


@pytest.mark.parametrize("game", ["logistic", "hinge", "energy"])
def test_the_energy_by_its_parts(game):
    algorithm, tokens = build({"critic.game": game}), batch(11)
    run(algorithm)
    algorithm.eval()
    with torch.no_grad():
        codes = algorithm.encoder(tokens)[0]
        cost = -log_prob(algorithm.generator, tokens, algorithm.generator.state(codes)).sum(dim=1)
        score = algorithm.critics.sentences(tokens)
    held = torch.log1p(torch.exp(-score)) if game == "energy" else -score
    algorithm.train()
    energy = algorithm.energy(tokens)
    torch.testing.assert_close(energy, (cost + held).double(), rtol=1e-5, atol=1e-5)
    assert algorithm.training
    assert not energy.requires_grad
    wider = torch.cat((tokens, torch.full((11, 4), PAD)), dim=1)
    torch.testing.assert_close(algorithm.energy(wider), energy, rtol=1e-5, atol=1e-5)


def test_evaluation_samples_and_codes():
    algorithm = build()
    figures = algorithm.evaluate([batch(seed=2), batch(seed=3)])
    assert figures["valid_nll"] == pytest.approx(math.log(figures["valid_ppl"]))
    energies = torch.cat([algorithm.energy(batch(seed=i)) for i in (2, 3)])
    assert figures["energy"] == pytest.approx(float(energies.mean()))
    assert figures.keys() >= {"code_mean", "code_var", "energy_gap", "unique", "entropy", "temperature"}
    assert algorithm.log_likelihood(batch(), samples=3).shape == (6,)
    assert "valid_recon" not in algorithm.evaluate([])
    assert algorithm.should_stop(figures, figures) is None
    assert "unique" in algorithm.should_stop(figures | {"unique": 0.0}, figures)
    rng = torch.Generator().manual_seed(0)
    assert algorithm.sample(5, length=2, rng=rng).tokens.shape == (5, 2)
    codes = algorithm.encode(batch())
    assert codes.shape == (6, Z)
    assert torch.equal(algorithm.decode(codes).tokens, algorithm.decode(codes).tokens)
    assert algorithm.samples(4).shape == (4, LENGTH)


def test_the_game_makes_codes_those_of_the_prior():
    # Codes of mean 1.5 and next to no variance: the critic of codes brings the mean to 0.
    values = {"adversarial_codes": 1.0, "batch_size": 64, "lr": 3e-3, "critic.lr": 1e-2, "critic.hidden": 31}
    algorithm = build(OFF | {"losses.penalty": 1.0} | values)
    with torch.no_grad():
        algorithm.encoder.mean.bias.fill_(1.5)
    held_out = [batch(200, seed=99)]
    before = algorithm.evaluate(held_out)
    assert before["code_mean"] > 2
    torch.manual_seed(1)
    for i in range(100):
        algorithm.step(batch(64, seed=i), i / 100)
    assert algorithm.evaluate(held_out)["code_mean"] < 0.2


@pytest.mark.parametrize("relax", ["straight_through", "gumbel", "policy_gradient"])
def test_the_game_alone_teaches_what_is_real(relax):
    # A language that begins with one word of ten: no cross entropy, only the critic says so.
    tokens = torch.tensor([[5, EOS]]).repeat(32, 1)
    values = {"adversarial": 1.0, "losses.penalty": 1.0, "written": 32, "lr": 1e-2, "critic.lr": 1e-2}
    algorithm = build(OFF | values | {"critic.filters": 11, "generator.dropout": 0.0, "relax": relax})

    def share():
        return float((algorithm.sample(1000).tokens[:, 0] == 5).float().mean())

    torch.manual_seed(2)
    before = share()
    for i in range(60):
        algorithm.step(tokens, i / 60)
    assert share() > 3 * before


def test_settings_out_of_range():
    cls = algorithms.get("aegan")
    with pytest.raises(UserError, match=r"noise=1\.5 is out of range"):
        settings.override(cls.Config(), {"noise": 1.5})
    with pytest.raises(UserError, match=r"contrastive=-1\.0 is out of range"):
        settings.override(cls.Config(), {"contrastive": -1.0})


@pytest.mark.cuda
@pytest.mark.parametrize("values", VARIANTS)
def test_steps_on_cuda(values):
    algorithm = build(values).cuda()
    algorithm.configure()
    for i in range(3):
        figures = algorithm.step(batch(seed=i).cuda(), i / 3)
        assert all(math.isfinite(float(value)) for value in figures.values())
    assert algorithm.energy(batch().cuda()).is_cuda
