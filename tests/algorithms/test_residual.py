"""The residual energy model: what is sampled and scored, against enumeration of all short sentences."""

import itertools
import math
from dataclasses import replace

import pytest
import torch
from helpers import LENGTH, batch, build, generator, sentences
from torch.nn.functional import pad

from seqgen.algorithms import energy_reading, residual
from seqgen.algorithms.residual_config import STATES
from seqgen.core.errors import UserError
from seqgen.data.batch import Batch
from seqgen.data.tokenizer import EOS, PAD, UNK
from seqgen.generation import resampling
from seqgen.generation.sample import sentence_log_prob
from seqgen.models.energy import EnergyConfig, Read

WORDS = (4, 5, 6)
SENTENCES = torch.tensor(
    [[EOS, PAD]]
    + [[word, EOS] for word in (UNK, *WORDS)]
    + [list(pair) for pair in itertools.product((UNK, *WORDS), (UNK, *WORDS))]
)
"""Every sentence of at most two tokens over four words, the cut ones included."""


def enumerated():
    """A model of seven tokens and two positions, its energy of each sentence, and g of each."""
    algorithm = build("residual", vocab_size=7, length=2).eval()

    def logits(read):
        first, second = pad(read.tokens, (0, 2 - read.tokens.shape[1])).unbind(dim=1)
        return torch.where(first == 5, 1.5, torch.where(second == EOS, -1.0, 0.25))

    algorithm._logits = logits
    energies = logits(Read(SENTENCES, None)).double()
    probs = sentence_log_prob(algorithm.generator, SENTENCES).exp()
    assert probs.sum().item() == pytest.approx(1.0, abs=1e-6)
    return algorithm, energies, probs


def test_the_likelihood_is_the_generators_times_the_weight_and_sums_to_1():
    algorithm, energies, probs = enumerated()
    algorithm.calibration[0] = 0.5
    algorithm.log_z.fill_(math.log(float((probs * (energies / 2).exp()).sum())))
    found = algorithm.log_likelihood(SENTENCES)
    expected = (probs * (energies / 2).exp()).log() - float(algorithm.log_z)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert found.exp().sum().item() == pytest.approx(1.0, abs=1e-5)
    torch.testing.assert_close(algorithm.energy(SENTENCES), -(probs * (energies / 2).exp()).log().double())


@pytest.mark.parametrize("candidates", [1, 2, 5])
def test_sentences_are_chosen_by_their_energy(candidates, monkeypatch):
    monkeypatch.setattr(residual, "ROWS", 1009)  # several parts
    algorithm, energies, probs = enumerated()
    n = 20_000
    tokens = algorithm.sample(n, candidates=candidates, rng=torch.Generator().manual_seed(3)).tokens
    assert tokens.shape == (n, 2)
    pool = energies[torch.multinomial(probs, 200_000, replacement=True)]
    expected = n * probs * resampling.log_chosen(energies, candidates, pool).exp()
    counts = (tokens[:, None] == SENTENCES).all(dim=2).sum(dim=0).double()
    statistic = float(((counts - expected).square() / expected).sum())
    freedom = len(SENTENCES) - 1
    assert statistic < freedom + 5 * math.sqrt(2 * freedom)


def test_a_further_round_learns_from_samples_of_the_one_before(monkeypatch):
    algorithm = build("residual", {"rounds": 2, "candidates": 3}, vocab_size=7, length=2)
    energies = torch.where(SENTENCES[:, 0] == 5, 1.5, torch.where(SENTENCES[:, 1] == EOS, -1.0, 0.25))
    places = {tuple(sentence): place for place, sentence in enumerate(SENTENCES.tolist())}

    def earlier(read):
        tokens = pad(read.tokens, (0, 2 - read.tokens.shape[1]))
        return energies[[places[tuple(sentence)] for sentence in tokens.tolist()]]

    monkeypatch.setattr(algorithm.earlier, "forward", earlier)
    probs = sentence_log_prob(algorithm.generator, SENTENCES).exp()
    torch.manual_seed(4)
    (fakes,) = algorithm._fakes(20_011)
    pool = energies[torch.multinomial(probs, 200_000, replacement=True)]
    expected = 20_011 * probs * resampling.log_chosen(energies, 3, pool).exp()
    counts = (fakes.tokens[:, None] == SENTENCES).all(dim=2).sum(dim=0).double()
    statistic = float(((counts - expected).square() / expected).sum())
    freedom = len(SENTENCES) - 1
    assert statistic < freedom + 5 * math.sqrt(2 * freedom)
    # and what it adds is added to the energy of that
    algorithm._logits = lambda read: 0.5 * read.log_probs.sum(dim=1)
    of_generator, found = algorithm.log_weights(SENTENCES)
    torch.testing.assert_close(found, energies + 0.5 * of_generator.float())


def test_a_further_round_begins_where_the_one_before_ended():
    first = build("residual", {"energy.linear": True})
    for i in range(3):
        first.step(batch(seed=i), i / 3)
    first.evaluate([batch(seed=5), batch(seed=6)])
    second = build("residual", {"energy.linear": True, "rounds": 2}, seed=4)
    second.start_from(first)
    third = build("residual", {"energy.linear": True, "rounds": 3}, seed=5)
    third.start_from(second)
    found = first.log_weights(sentences())
    assert float(found[1].std()) > 0
    for later in (second, third):
        for mine, other in zip(later.log_weights(sentences()), found, strict=True):
            torch.testing.assert_close(mine, other)
        for i in range(3):
            later.step(batch(seed=i), i / 3)
        assert float((later.log_weights(sentences())[1] - found[1]).std()) > 0
        read = later._read(sentences())
        torch.testing.assert_close(later.earlier(read), found[1])


@pytest.mark.parametrize("kind", ["rnn", "transformer", "relational-memory"])
def test_the_states_that_the_energy_reads_are_those_that_predict_the_tokens(kind):
    more = {"generator.hidden": 12, "generator.heads": 3} if kind == "transformer" else {}
    settings = {"energy.states": 3, "generator.kind": kind, "generator.dropout": 0.3, **more}
    algorithm = build("residual", settings).train()
    tokens = sentences()
    read = algorithm._read(tokens)
    weight, bias = algorithm.generator.head.weight, algorithm.generator.head.bias
    logits = read.states @ weight.t() + bias
    expected = logits.log_softmax(dim=-1).gather(2, read.tokens[..., None])[..., 0]
    real = read.tokens != PAD
    torch.testing.assert_close(read.log_probs[real], expected[real], rtol=1e-4, atol=1e-5)
    of_products = (read.states * read.head[read.tokens]).sum(dim=2) + bias[read.tokens]
    torch.testing.assert_close(of_products, logits.gather(2, read.tokens[..., None])[..., 0])
    assert not read.states.requires_grad
    assert not read.head.requires_grad


def test_the_energy_begins_with_states_and_rows_of_deviation_1():
    algorithm = build("residual", {"energy.states": 3})
    start = build("mle", seed=3)
    with torch.no_grad():
        start.generator.head.weight.mul_(0.1)
    algorithm.start_from(start)
    drawn = algorithm.propose(503)
    read = algorithm._read(*drawn)
    real, of_states = read.tokens != PAD, algorithm.discriminator.of_states
    assert float(read.states[real].std() / of_states.state_deviation) == pytest.approx(1, rel=0.05)
    assert float(read.head[read.tokens[real]].std() / of_states.row_deviation) == pytest.approx(1, rel=0.05)


def test_a_report_after_the_first_draws_nothing_and_chooses_by_the_energy(monkeypatch):
    algorithm, *_ = enumerated()
    algorithm.config = replace(algorithm.config, held_out_samples=3_001, candidates=7)
    held_out = [Batch(SENTENCES)]
    first = algorithm.evaluate(held_out)
    monkeypatch.setattr(residual, "sample", lambda *given, **options: pytest.fail("drawn"))
    assert algorithm.evaluate(held_out) == first
    # all sentences that begin with 5, where there are any among seven, once only they have much energy
    chosen = []
    monkeypatch.setattr(algorithm, "sample_metrics", lambda samples: chosen.append(samples.tokens) or {})
    pool = algorithm._pool.tokens[:2996]  # 428 sevens
    energies = torch.where(algorithm._pool.tokens[:, 0] == 5, 50.0, 0.0)
    monkeypatch.setattr(algorithm, "_weighed", lambda *given: pytest.fail("weighed again"))
    found = algorithm._sample_metrics(algorithm._pool.log_probs.sum(dim=1), energies)
    has_five = (pool[:, 0] == 5).view(-1, 7).any(dim=1)
    assert len(chosen[0]) == 428
    assert torch.equal(chosen[0][:, 0] == 5, has_five)
    nats = -sentence_log_prob(algorithm.generator, chosen[0]).sum() - 50 * has_five.sum()
    nats = float(nats + 428 * algorithm.log_z) / int((chosen[0] != PAD).sum())
    assert found["sample_nll"] == pytest.approx(nats, rel=1e-4)


def test_sentences_are_read_by_their_length_and_given_back_in_their_order(monkeypatch):
    monkeypatch.setattr(energy_reading, "READ_ON_HOST", 2)
    algorithm = build("residual", {"energy.states": 3, "energy.linear": True}).eval()
    tokens, widths = sentences(7), []
    lengths = (tokens != PAD).sum(dim=1)
    assert len(lengths.unique()) > 2
    expected = [
        torch.cat(each) for each in zip(*(algorithm.log_weights(row[None]) for row in tokens), strict=True)
    ]
    read = algorithm._read
    algorithm._read = lambda tokens, known: widths.append(tokens.shape[0]) or read(tokens, known)
    for found, one_by_one in zip(algorithm.log_weights(tokens), expected, strict=True):
        torch.testing.assert_close(found, one_by_one, rtol=1e-4, atol=1e-5)
    assert widths == [2, 2, 2, 1]


def test_states_are_read_where_no_folds_are_trained():
    config = build("residual").config
    assert replace(config, energy=EnergyConfig()).cross_fitted(False).energy.states == STATES
    assert replace(config, energy=EnergyConfig()).cross_fitted(True).energy.states == 0
    off = replace(config, energy=EnergyConfig(), cross_fitting="off")  # unknown what g has seen
    assert off.cross_fitted(False).energy.states == 0
    for is_needed in (True, False):
        assert replace(config, energy=EnergyConfig(states=5)).cross_fitted(is_needed).energy.states == 5


def test_a_report_fits_calibration_and_normaliser():
    algorithm, energies, probs = enumerated()
    algorithm.config = type(algorithm.config)(held_out_samples=50_000)
    # Held-out sentences from the model with half the energy: so much the scale has to be.
    weights = probs * (energies / 2).exp()
    rows = torch.multinomial(weights, 20_000, replacement=True, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(1)
    report = algorithm.evaluate([Batch(part) for part in SENTENCES[rows].split(997)])
    assert report["scale"] == pytest.approx(0.5, abs=0.05)
    assert float(algorithm.calibration[:2].sum()) == pytest.approx(report["scale"])
    found = algorithm.log_weights(SENTENCES)[1].double()
    error = found - energies / 2  # but for a constant, which log Z takes up
    assert float((error - (probs * error).sum()).abs().max()) < 0.1
    log_z = math.log(float((probs * found.exp()).sum()))
    again = algorithm.evaluate([Batch(part) for part in SENTENCES[rows].split(997)])
    assert again["valid_loss"] == report["valid_loss"]  # the same samples as in the report before
    exact = weights / weights.sum()
    gain = float((exact * (exact / probs).log()).sum())
    assert report["gain"] == pytest.approx(gain, abs=4 * report["gain_error"])
    assert report["log_z"] == pytest.approx(log_z, abs=0.02)
    lengths = (SENTENCES != PAD).sum(dim=1)
    nll = -float((exact * exact.log()).sum()) / float((exact * lengths).sum())
    assert report["valid_nll"] == pytest.approx(nll, abs=0.02)


def test_prompts_states_and_forbidden_words():
    algorithm = build("residual").eval()
    prompt = torch.tensor([5, 9])
    tokens = algorithm.sample(7, prompt=prompt).tokens
    assert torch.equal(tokens[:, :2], prompt.expand(7, 2))
    prompts = torch.tensor([[5, 9], [6, 4], [7, 7]])
    assert torch.equal(algorithm.sample(3, prompt=prompts).tokens[:, :2], prompts)
    assert not torch.isin(algorithm.sample(101, forbid=(UNK, 5)).tokens, torch.tensor([UNK, 5])).any()
    assert algorithm.sample(0).tokens.shape == (0, LENGTH)
    _, state = algorithm.generator.hidden(prompts, algorithm.generator.initial(3))
    assert algorithm.sample(3, state=state).tokens.shape == (3, LENGTH)
    with pytest.raises(UserError, match="candidates is -1; it must be at least 1"):
        algorithm.sample(3, candidates=-1)


def test_it_starts_from_a_run_and_its_generator_stays():
    class Start:
        generator = generator("rnn", seed=8)

    algorithm = build("residual", {"generator.dropout": 0.5})
    algorithm.start_from(Start)
    tokens = sentences()
    before = sentence_log_prob(algorithm.generator, tokens)
    assert torch.equal(before, sentence_log_prob(Start.generator, tokens))
    assert algorithm.discriminator.deviation.std() > 0
    for i in range(3):
        algorithm.step(batch(seed=i), i / 3)
    assert torch.equal(before, sentence_log_prob(algorithm.generator, tokens))


@pytest.mark.parametrize("network", ["rnn", "cnn", "transformer"])
def test_it_learns_what_the_generator_does_wrong(network):
    """Real sentences begin and end with the same word; the generator knows nothing of that."""
    values = {"energy.network": network, "energy.embedding": 11, "energy.hidden": 24, "batch_size": 64}
    values |= {"steps": 150, "lr": 0.01, "energy.dropout": 0.0}
    algorithm = build("residual", values, length=4)
    with torch.no_grad():  # uniform over the words, three of them
        algorithm.generator.head.weight.zero_()
        algorithm.generator.head.offset[[UNK, EOS]] = -30.0
    rng = torch.Generator().manual_seed(0)

    def real(rows):
        tokens = torch.randint(4, 13, (rows, 4), generator=rng)
        tokens[:, 3] = tokens[:, 0]
        return Batch(tokens)

    for i in range(150):
        algorithm.step(real(64), i / 150)
    report = algorithm.evaluate([real(1000)])
    assert report["gain"] > 0.5 * math.log(9)
    tokens = algorithm.sample(500, candidates=50).tokens
    assert (tokens[:, 0] == tokens[:, 3]).float().mean() > 0.6  # 1/9 by chance
