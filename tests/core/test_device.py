"""Devices by name, and what MPS lacks: float64, and some operators."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seqgen.core import device
from seqgen.core.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
ON_THE_CPU = {
    "seqgen/bench/controls.py": "log-densities come back from the device first",
    "seqgen/bench/truths.py": "densities of a grammar",
    "seqgen/core/device.py": "`widened` itself",
    "seqgen/core/distributed.py": "numbers of the host that processes compare",
    "seqgen/evaluation/known_distribution.py": "densities of a grammar",
    "seqgen/evaluation/runs.py": "`over_sentences` returns what is on the CPU",
    "seqgen/generation/categorical.py": "a type that it compares, of a draw that asks for it",
    "seqgen/image/applications/few_labels.py": "becomes an array of NumPy",
    "seqgen/image/applications/latent.py": "quantiles",
    "seqgen/image/evaluation/evaluate.py": "likelihoods that came back from the device",
    "seqgen/image/evaluation/sample_quality.py": "features that became arrays of NumPy",
    "seqgen/inference/latent_map.py": "`over_sentences` returns what is on the CPU",
    "seqgen/inference/projection_2d.py": "becomes an array of NumPy",
    "seqgen/metrics/classifier.py": "counts of words",
    "seqgen/metrics/confidence.py": "resampled sums",
    "seqgen/metrics/divergences.py": "exact densities, which samplers return on the CPU",
    "seqgen/models/ngram_mixture.py": "held-out states that came back from the device",
    "seqgen/algorithms/mle.py": "held-out states that came back from the device",
}
"""Files that make tensors of float64 otherwise than by `widened`, and why none of them is on a device."""


@pytest.fixture
def mps(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)


def test_auto_is_cuda_then_mps_then_the_cpu(monkeypatch, mps):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device.pick() == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.pick() == device.pick("mps") == torch.device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert device.pick() == torch.device("cpu")


def test_what_is_not_there_is_one_line(monkeypatch):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for name, lacking in (("mps", "no MPS device"), ("cuda:1", "no CUDA device")):
        with pytest.raises(UserError, match=rf"--device {name}: .* finds {lacking} here; use --device cpu"):
            device.pick(name)
    for name in ("gpu", "meta", "xpu"):
        with pytest.raises(UserError, match=f"no device '{name}'; allowed: auto, cpu, cuda, cuda:N, mps"):
            device.pick(name)


def test_where_there_is_no_float64_float32_is_the_widest(monkeypatch):
    half = torch.ones(3, dtype=torch.bfloat16)
    assert device.widened(half).dtype == torch.float64
    assert device.widened(half.to("meta")).dtype == torch.float64
    monkeypatch.setattr(device, "WITHOUT_FLOAT64", {"meta"})
    assert device.widened(half.to("meta")).dtype == torch.float32
    assert device.widened(half.double().to("meta")).dtype == torch.float32


def test_no_other_file_makes_float64_on_a_device():
    """The contract of the algorithms runs their steps and samples so; reports are held by this alone."""
    found = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "seqgen").rglob("*.py")
        if re.search(r"\.double\(\)|torch\.(float64|double)\b", path.read_text(encoding="utf-8"))
    }
    assert found == ON_THE_CPU.keys()


def test_the_command_line_lets_the_cpu_compute_what_mps_lacks(tmp_path):
    """torch reads the variable when it is imported, so that it has to be set before."""
    code = (
        "import sys; from seqgen.cli import main; sys.argv = ['seqgen', 'runs']\n"
        "try: main.main()\n"
        "finally: import os; print(os.environ['PYTORCH_ENABLE_MPS_FALLBACK'], 'torch' in sys.modules)"
    )
    for given, expected in ((None, "1"), ("0", "0")):
        environment = {**os.environ, "PYTORCH_ENABLE_MPS_FALLBACK": given or ""}
        if given is None:
            del environment["PYTORCH_ENABLE_MPS_FALLBACK"]
        ended = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.stdout.split()[0] == expected, ended.stderr


DENORMAL = """
import torch
from seqgen.core import device
def left():
    tiny = torch.full((1 << 20,), 700_000, dtype=torch.int32).view(torch.float32)
    return [int((half.view(torch.int32) != 0).sum()) for half in (tiny * 0.5).chunk(2)]
torch.set_num_threads(2)
before = left() if USED else None
PREPARE
print(before, left())
"""
FROM_A_PROGRAM = """
import tempfile
from helpers import coin_corpus
from pathlib import Path
from seqgen import pretrain
with tempfile.TemporaryDirectory() as place:
    small = {"generator.embedding": 5, "generator.hidden": 7, "batch_size": 8}
    corpus = coin_corpus(Path(place) / "coins.txt")
    pretrain(corpus, run=f"{place}/run", steps=1, values=small, device="cpu")
"""


@pytest.mark.parametrize(
    ("used", "prepare"), [(False, "device.prepare(2)"), (True, "device.prepare(2)"), (True, FROM_A_PROGRAM)]
)
def test_every_thread_takes_denormal_numbers_for_zero(used, prepare):
    """Torch's own threads too, also where they have worked before; by a training that a program calls."""
    code = DENORMAL.replace("USED", str(used)).replace("PREPARE", prepare)
    paths = os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "2"}
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    expected = [1 << 19, 1 << 19] if used else None
    assert ended.stdout.splitlines()[-1:] == [f"{expected} [0, 0]"], ended.stderr
