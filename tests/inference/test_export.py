"""Exports: the step model gives the log-probabilities of `sample`, the README's program runs, cards."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import GENERATOR_KINDS, GENERATORS, V, generator, sentences

import seqgen
from seqgen.core.errors import UserError
from seqgen.core.printable import printable
from seqgen.data.tokenizer import BOS, PAD
from seqgen.generation.sample import log_prob
from seqgen.inference import export, model_card
from seqgen.inference.generate import generate
from seqgen.training.load import load

README = Path(__file__).resolve().parents[2] / "seqgen/inference/README.md"
NEEDED = "onnxruntime is not installed: pip install 'seqgen[export]'"
VARIANTS = [(kind, {}) for kind in GENERATOR_KINDS] + [
    ("rnn", {"cell": "gru", "layers": 2}),
    ("rnn", {"attention": True, "tied": True}),
    ("transformer", {"tied": True, "layers": 3}),
]


def session(path: Path) -> Any:
    pytest.importorskip("onnx", reason=NEEDED)
    return pytest.importorskip("onnxruntime", reason=NEEDED).InferenceSession(str(path))


def scored(model: Any, tokens: torch.Tensor) -> np.ndarray:
    """Read sentences step by step; the log-probability of each token, (B, T) → (B, T)."""
    rows = len(tokens)
    state = {
        each.name: np.zeros([{"batch": rows, "past": 0}.get(size, size) for size in each.shape], np.float32)
        for each in model.get_inputs()[1:]
    }
    read, found = np.full(rows, BOS), []
    for column in tokens.T.numpy():
        log_probs, *after = model.run(None, {"token": read, **state})
        state, read = dict(zip(state, after, strict=True)), column
        found.append(log_probs[np.arange(rows), column])
    return np.stack(found, axis=1)


@pytest.mark.parametrize(("kind", "options"), VARIANTS)
def test_the_step_model_gives_the_log_probabilities_of_the_generator(
    kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    pytest.importorskip("onnx", reason=NEEDED)
    made = generator(kind, seed=3, **GENERATORS[kind] | options).eval()
    made.head.scale.fill_(0.7)  # a calibrated temperature is part of the model
    shapes = export._write_step(made, [BOS], tmp_path / "model.onnx")
    tokens = sentences(rows=5, length=11, seed=2)
    expected = log_prob(made, tokens).numpy()
    found = scored(session(tmp_path / "model.onnx"), tokens)
    real = (tokens != PAD).numpy()
    np.testing.assert_allclose(found[real], expected[real], atol=1e-5)
    assert all(shape[0] == "batch" for shape in shapes.values())
    assert any("past" in shape for shape in shapes.values()) == (
        kind == "transformer" or bool(options.get("attention"))
    )
    assert found.shape == (5, 11)
    assert V > 12


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labelled")
    rows = [
        f"the {who} {does} {i}\t{does[0]}"
        for who in ("cat", "dog", "hen")
        for does in ("sits", "runs")
        for i in range(19)
    ]
    (folder / "rows.tsv").write_text("text\tlabel\n" + "\n".join(rows), encoding="utf-8")
    values = {"generator.embedding": 5, "generator.hidden": 7, "batch_size": 8, "ngram.order": 0}
    seqgen.pretrain(
        str(folder / "rows.tsv"), run=folder / "run", steps=3, label_column="label", values=values
    )
    return folder / "run"


def test_its_scores_are_those_of_samples(small_runs: dict[str, Path], labelled: Path, tmp_path: Path) -> None:
    for name, path in {"plain": small_runs["mle"], "labelled": labelled}.items():
        trained = load(path, "cpu")
        export.to_onnx(trained, tmp_path / name)
        model = session(tmp_path / name / "model.onnx")
        described = json.loads((tmp_path / name / "config.json").read_text(encoding="utf-8"))
        assert described["vocab_size"] == trained.tokenizer.vocab_size
        drawn = trained.algorithm.sample(7, rng=torch.Generator().manual_seed(5))
        own = trained.algorithm.of_sentence(drawn.tokens)
        found = torch.from_numpy(scored(model, drawn.tokens)).double().masked_fill(~own, 0)
        if name == "plain":
            torch.testing.assert_close(found.float(), drawn.log_probs, atol=1e-5, rtol=1e-5)
        expected = trained.algorithm.log_likelihood(drawn.tokens)
        torch.testing.assert_close(found.sum(dim=1), expected, atol=1e-4, rtol=1e-5)
        assert set(drawn.tokens[:, 0].tolist()) <= set(described["labels"].values()) or name == "plain"
        assert bool(described["labels"]) == (name == "labelled")


def test_the_program_of_the_readme_samples_without_seqgen(
    small_runs: dict[str, Path], tmp_path: Path
) -> None:
    pytest.importorskip("onnxruntime", reason=NEEDED)
    trained = load(small_runs["mle"], "cpu")
    export.to_onnx(trained, tmp_path / "onnx")
    (code,) = re.findall(r"```python\n(# step.py\n.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 20
    ending = "import json, sys\nprint(json.dumps([sample() for _ in range(5)]))\n"
    ending += "assert not {'seqgen', 'torch'} & set(sys.modules)\n"
    (tmp_path / "step.py").write_text(code + ending, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "step.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert trained.algorithm.policy.head.never_ends_at == 0  # no sentence of the corpus is empty
    for text, ids, score in json.loads(ran.stdout):
        tokens = torch.tensor([ids[1:]])
        assert ids[0] == BOS
        assert text == trained.tokenizer.decode(tokens[0])
        assert score == pytest.approx(float(trained.algorithm.log_likelihood(tokens)), abs=1e-4)


def test_a_run_that_is_no_step_of_a_generator_is_refused_by_name(
    small_runs: dict[str, Path], tmp_path: Path
) -> None:
    for name, reason in (
        ("sentence-vae", "decodes a latent vector"),
        ("autoencoder", "decodes a latent vector"),
    ):
        with pytest.raises(UserError, match=f"is a run of {name}, which {reason}") as caught:
            export.to_onnx(load(small_runs[name], "cpu"), tmp_path / "out")
        assert "\n" not in str(caught.value)
    residual = seqgen.adversarial(
        small_runs["mle"],
        run=tmp_path / "residual",
        steps=1,
        values={"held_out_samples": 100, "candidates": 3, "energy.hidden": 6, "energy.heads": 3},
    )
    with pytest.raises(UserError, match="is a run of residual, which chooses among whole sentences"):
        export.to_onnx(load(residual, "cpu"), tmp_path / "out")
    mixed = load(small_runs["mle"], "cpu")
    mixed.algorithm.mixture = type("Used", (), {"is_used": True})()
    with pytest.raises(UserError, match="is a run of mle, which mixes its generator with n-gram counts"):
        export.to_onnx(mixed, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_folder_for_the_hub_is_a_run(small_runs: dict[str, Path], tmp_path: Path) -> None:
    trained = load(small_runs["sentence-vae"], "cpu")
    export.to_hub(trained, tmp_path / "hub")
    again = load(tmp_path / "hub", "cpu")
    drawn = [[each.text for each in generate(one, 9, seed=1)] for one in (trained, again)]
    assert drawn[0] == drawn[1]
    assert again.corpus.hash == trained.corpus.hash
    card = (tmp_path / "hub/README.md").read_text(encoding="utf-8")
    best = min(trained.run.metrics(), key=lambda row: row[trained.algorithm.monitor])
    assert f"| {best['valid_elbo']:.4g} |" in card
    assert "## Evaluation" not in card


def test_transformers_loads_its_tokenizer(small_runs: dict[str, Path], tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    trained = load(small_runs["mle"], "cpu")
    export.to_hub(trained, tmp_path / "hub")
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path / "hub")
    text = "two dogs sleep by a tree."
    assert loaded(text).input_ids == trained.tokenizer.encode(text)
    assert [loaded.pad_token_id, loaded.bos_token_id, loaded.eos_token_id, loaded.unk_token_id] == [
        0,
        1,
        2,
        3,
    ]


def test_the_card_has_the_numbers_of_the_evaluation(small_runs: dict[str, Path], tmp_path: Path) -> None:
    trained = load(small_runs["mle"], "cpu")
    scores = seqgen.evaluate(small_runs["mle"], n=43)
    card = model_card.of_run(trained, scores)
    low, high = scores["intervals"]["bleu"]["5"]
    values = (
        f"{scores['bleu']['5']:.4g} ({low:.4g} to {high:.4g}); real text {scores['real']['bleu']['5']:.4g}"
    )
    assert f"| BLEU-5 | {values} |" in card
    assert f"| {scores['nll_test']:.4g}" in card.partition("test split")[2]
    assert "43 samples at temperature 1, seed 0" in card
    other = scores | {"protocol": scores["protocol"] | {"corpus_hash": "0"}}
    with pytest.raises(UserError, match="not of a run on the corpus"):
        model_card.of_run(trained, other)
    several = {"rows": [scores | {"name": "elsewhere"}], "protocol": scores["protocol"]}
    with pytest.raises(UserError, match="is none of them"):
        model_card.of_run(trained, several)
    assert printable(card) == card


def test_a_folder_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    def half(place: Path) -> None:
        (place / "a").write_text("a", encoding="utf-8")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export._into(tmp_path / "out", half)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    write: Callable[[Path], Any] = lambda place: (place / "a").write_text("a", encoding="utf-8")  # noqa: E731
    export._into(tmp_path / "out", write)
    assert [each.name for each in tmp_path.rglob("*")] == ["out", "a"]
    with pytest.raises(UserError, match="holds files already"):
        export._into(tmp_path / "out", write)
    with pytest.raises(UserError, match="is no folder"):
        export._into(tmp_path / "out/a", write)
