"""`seqgen export` on the command line: what it writes, and every mistake as one line with exit code 2."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(small_runs: dict[str, Path], tmp_path: Path) -> Path:
    """A run of its own in the folder of the test, beside its corpus."""
    run = Path(shutil.copytree(small_runs["mle"], tmp_path / "runs/mle"))
    for name in ("train.txt", "test.txt"):
        shutil.copy(small_runs["mle"].parent / name, run.parent / name)
    return run


def test_both_formats_are_written_and_the_newest_run_is_taken(cli: Cli, run: Path) -> None:
    pytest.importorskip("onnx", reason="onnx is not installed: pip install 'seqgen[export]'")
    assert cli("export", "--to", "onnx", "--out", "made/onnx") == (0, "made/onnx\n", "run: runs/mle (mle)\n")
    names = {each.name for each in Path("made/onnx").iterdir()}
    assert names == {"model.onnx", "tokenizer.json", "config.json", "README.md"}
    code, out, _ = cli("evaluate", "--run", run, "--n", 41, "--json", "--quiet")
    assert code == 0
    Path("scores.json").write_text(out, encoding="utf-8")
    code, out, err = cli("export", "--to", "hf", "--out", "hub", "--scores", "scores.json", "--quiet")
    assert (code, out, err) == (0, "hub\n", "")
    card = Path("hub/README.md").read_text(encoding="utf-8")
    assert f"{json.loads(Path('scores.json').read_text())['bleu']['5']:.4g}" in card
    assert cli("sample", "--run", "hub", "--n", 3, "--quiet")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "onx", "--out", "o"], "no format 'onx'; did you mean 'onnx'?"),
        (["--to", "onnx", "--out", "o", "--scores", "s"], "--scores are for the card of --to hf"),
        (["--to", "hf", "--out", "o", "--run", "absent"], "no run at 'absent'"),
        (["--to", "hf", "--out", "empty.json"], "--out 'empty.json' is no folder"),
        (["--to", "hf", "--out", "runs"], "--out 'runs' holds files already"),
        (["--to", "hf", "--out", "o", "--scores", "runs/train.txt"], "--scores 'runs/train.txt' is no JSON"),
        (["--to", "hf", "--out", "o", "--scores", "absent.json"], "absent.json"),
        (["--to", "hf", "--out", "o", "--scores", "empty.json"], "the scores are not of a run on the corpus"),
        (["--to", "hf"], "--out"),
    ],
)
def test_mistakes_are_one_line(cli: Cli, run: Path, arguments: list[str], message: str) -> None:
    Path("empty.json").write_text("{}", encoding="utf-8")
    code, out, err = cli("export", "--quiet", *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert message in err
    assert not Path("o").exists()


def test_without_onnx_one_line_says_what_to_install(
    cli: Cli, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    code, _, err = cli("export", "--to", "onnx", "--out", "o", "--quiet")
    assert code == 2
    assert err == "seqgen: onnx is not installed; pip install 'seqgen[export]'\n"
