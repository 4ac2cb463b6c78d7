"""The benchmark of users' texts: plain networks, trainings beside each other, the table, the command."""

import json
import math

import pytest
import torch
from helpers import write_lines
from torch import nn
from typer.testing import CliRunner

from seqgen.bench import plain_models, user_texts
from seqgen.cli.bench import app
from seqgen.core import cache
from seqgen.core.errors import UserError
from seqgen.corpora.recipes import get_recipe
from seqgen.data.batches import pack
from seqgen.data.tokenizer import EOS

V = 11
LINES = [f"{a} {b}{c}" for a in ("the", "one") for b in "abcdefg" for c in "hijklmn"]
CPU = torch.device("cpu")


@pytest.mark.parametrize("name", plain_models.MODELS)
def test_a_plain_network_sees_the_tokens_before_alone(name):
    torch.manual_seed(0)
    model = plain_models.MODELS[name](V, 7).eval()
    one = torch.randint(4, V, (3, 7))
    other = one.clone()
    other[:, 4] = (one[:, 4] - 3) % (V - 4) + 4
    with torch.no_grad():
        assert model(one).shape == (3, 7, V)
        assert torch.allclose(model(one)[:, :4], model(other)[:, :4], atol=1e-5)
        assert not torch.allclose(model(one)[:, 4:], model(other)[:, 4:], atol=1e-3)


class Uniform(nn.Module):
    """A model that finds every token equally likely."""

    lr = 1.0

    def forward(self, tokens):
        return torch.zeros(*tokens.shape, V)


def test_the_likelihood_is_a_mean_over_tokens_without_padding():
    ids = pack([[5, 6, 7, 8, EOS], [5, EOS]])
    assert plain_models.mean_nll(Uniform(), ids, CPU) == pytest.approx(math.log(V))

    class Longer(Uniform):
        def forward(self, tokens):
            logits = super().forward(tokens)
            logits[:, 2:, EOS] = 1.0  # what stands in the padding of the shorter one
            return logits

    # position 2 to 4 of the first: two tokens that are not EOS and one that is
    normaliser = math.log(V - 1 + math.e)
    expected = (4 * math.log(V) + 3 * normaliser - 1) / 7
    assert plain_models.mean_nll(Longer(), ids, CPU) == pytest.approx(expected, abs=1e-6)


def test_a_plain_training_ends_with_its_time_and_keeps_its_best_weights():
    rows = [[4 + (i + j) % 5 for j in range(6)] + [EOS] for i in range(5)]  # each follows from its first
    train, valid = pack(rows * 13), pack(rows)
    torch.manual_seed(0)
    model = plain_models.PlainLSTM(V, 7)
    before = plain_models.mean_nll(model, valid, CPU)
    ticks = iter(range(1_000))
    steps = plain_models.train(
        model, train, valid, seconds=40, seed=0, device=CPU, clock=lambda: float(next(ticks))
    )
    assert steps == 39  # a tick a step, one of them at the start
    # ln 5 nats of the first token are what there is to know of seven
    assert math.log(5) / 7 < plain_models.mean_nll(model, valid, CPU) < 0.6 * before


def test_a_training_that_gets_worse_ends_with_its_best_weights(monkeypatch):
    rows = [[4 + i, EOS] for i in range(5)]
    model = plain_models.PlainLSTM(V, 2)
    losses, kept = iter([3.0, 1.0, *(2.0 for _ in range(99))]), []

    def measured(model, ids, device):
        kept.append({name: value.clone() for name, value in model.state_dict().items()})
        return next(losses)

    monkeypatch.setattr(plain_models, "mean_nll", measured)
    ticks = iter(range(1_000))
    plain_models.train(
        model, pack(rows), pack(rows), seconds=60, seed=0, device=CPU, clock=lambda: float(next(ticks))
    )
    assert len(kept) == plain_models.REPORTS
    for name, value in model.state_dict().items():
        assert torch.equal(value, kept[1][name])


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return str(write_lines(tmp_path_factory.mktemp("text") / "letters.txt", LINES))


def test_trainings_stand_side_by_side_and_are_kept(text, tmp_path):
    run = {"texts": [user_texts.own_text(text)], "folder": tmp_path / "bench", "minutes": 0.05}
    said = []
    (row,) = user_texts.run(**run, search=True, notify=said.append)
    trainings = row["trainings"]
    searched = [f"dropout {each}" for each in ("0.1", "0.25", "0.4", "0.55")]
    assert list(trainings) == ["seqgen", "plain LSTM", "plain Transformer", *searched]
    assert row["text"] == "letters"
    ours = trainings["seqgen"]
    assert len(ours["samples"]) == user_texts.SAMPLES
    for name in plain_models.MODELS:
        assert trainings[name]["seconds"] == ours["seconds"]
        assert trainings[name]["steps"] > 1
    for name in searched:
        assert trainings[name]["steps"] == ours["steps"]
        assert trainings[name]["dropout"] == float(name.split()[1])
    # two words and 49 pairs of letters: 4.6 nats, and nothing of four tokens or more is worse than uniform
    assert all(0 < each["nll"] < math.log(ours["vocabulary"]) for each in trainings.values())
    assert len(said) == len(trainings)
    again = user_texts.run(**run, search=True, notify=said.append)
    assert again == [row]
    assert len(said) == len(trainings)  # nothing was trained twice
    with pytest.raises(UserError, match="holds a benchmark with search=True, not False"):
        user_texts.run(**run, search=False)


def test_two_texts_of_one_name_are_refused(text, tmp_path):
    other = write_lines(tmp_path / "letters.txt", LINES[:50])
    texts = [user_texts.own_text(each) for each in (text, str(other))]
    with pytest.raises(UserError, match="two of the corpora have the same name in the results, as in 'lett"):
        user_texts.run(texts, tmp_path / "bench")
    assert not (tmp_path / "bench" / "jobs").exists()


def row_of(text, seed, dropouts, **nll):
    ours = {"tokenizer": "word", "vocabulary": 1234, "sentences": 5678, "dropout": 0.25, "seconds": 10.0}
    names = {"seqgen": nll["seqgen"], "plain LSTM": nll["lstm"], "plain Transformer": nll["transformer"]}
    trainings = {
        name: {"nll": value, "valid_nll": value + 0.5, "seconds": 20.0} for name, value in names.items()
    }
    trainings["seqgen"] |= ours | {"seconds": 10.0 + seed}
    for dropout, value in dropouts.items():
        trainings[f"dropout {dropout}"] = {"nll": 9.0, "valid_nll": value}
    return {"text": text, "seed": seed, "trainings": trainings}


def test_the_table_has_means_over_seeds_and_what_the_search_found():
    rows = [
        row_of("a", 0, {0.1: 1.6, 0.4: 1.9}, seqgen=1.2, lstm=1.3, transformer=1.4),
        row_of("a", 1, {0.1: 1.7, 0.4: 1.5}, seqgen=1.4, lstm=1.7, transformer=2.0),
        row_of("b", 0, {0.1: 2.6, 0.4: 2.5}, seqgen=2.0, lstm=2.1, transformer=2.2),
    ]
    head, a, b = (line.split("  ") for line in user_texts.table(rows).splitlines())
    a, b = ([cell.strip() for cell in line if cell.strip()] for line in (a, b))
    # 1.65 against 1.7; the default has (1.7 + 1.9) / 2
    assert a == [
        *("a", "word, 1,234", "5,678", "10", "0.25", "1.300", "1.500", "1.700"),
        *("+0.150", "0.1"),
    ]
    assert b[-2:] == ["+0.000", "0.4"]
    assert head[0] == "text"


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path / "cache"))


def test_a_public_text_is_read_as_its_recipe_says(empty_cache):
    assert not user_texts.is_fetched("molecules")
    folder = cache.folder() / "data" / "molecules"
    folder.mkdir(parents=True)
    for file in get_recipe("molecules").files:
        assert not user_texts.is_fetched("molecules")
        (folder / file.name).write_text("SMILES,SPLIT\nCCO,train\n")
    assert user_texts.is_fetched("molecules")
    data = user_texts.public_text("molecules").data
    assert (data.corpus, data.test, data.column) == (
        str(folder / "train.csv"),
        str(folder / "test.csv"),
        "SMILES",
    )


@pytest.mark.parametrize("name", user_texts.PUBLIC)
def test_every_public_text_is_of_a_recipe_of_text(name):
    assert user_texts.public_text(name).data.corpus.startswith(str(cache.folder() / "data" / name))


def test_the_command_writes_the_table_and_says_what_it_left_out(empty_cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["jobs"])
    assert isinstance(result.exception, UserError)
    assert "none of names, molecules, logs, tweets, poems, coco, news has been fetched" in str(
        result.exception
    )
    folder = cache.folder() / "data" / "logs"
    folder.mkdir(parents=True)
    write_lines(folder / "hdfs.log", LINES)
    result = CliRunner().invoke(app, ["jobs", "--minutes", "0.03", "--json"])
    assert result.exit_code == 0, result.output
    assert (
        "left out: names, molecules, tweets, poems, coco, news (seqgen corpora fetch names)" in result.stderr
    )
    (row,) = json.loads(result.stdout)
    assert row["text"] == "logs"
    assert json.loads((tmp_path / "runs/bench-jobs/results.json").read_text()) == [row]
    assert (tmp_path / "runs/bench-jobs/table.txt").read_text().startswith("text")
