"""`--compile`: the same run but for rounding, with a compiler of this machine or without one."""

import shutil
from pathlib import Path

import pytest
import torch

from seqgen.training import run_folder

TRAIN = ["image", "train", "vae", "--steps", 3, "--set", "net.hidden=11", "--set", "latent_dim=3"]


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def trained(cli, name, *options):
    """Train into a run folder; return its weights and what was said of compilation."""
    code, _, err = cli(*TRAIN, "--run", name, *options)
    assert code == 0, err
    state = run_folder.load_state(run_folder.open_run(Path(name)))
    return state["weights"], [line for line in err.splitlines() if "--compile" in line]


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_training_is_the_plain_one_to_rounding_and_resumes_it(cli):
    plain, said = trained(cli, "plain")
    assert said == []
    fast, said = trained(cli, "fast", "--compile")
    assert said == []
    assert fast.keys() == plain.keys()
    for key, weight in plain.items():
        torch.testing.assert_close(fast[key], weight, rtol=1e-4, atol=1e-5, msg=key)
    code, _, err = cli(*TRAIN, "--run", "fast", "--steps", 4)
    assert code == 0, err


def test_without_a_compiler_it_goes_on_with_one_line(cli, monkeypatch):
    plain, _ = trained(cli, "plain")
    monkeypatch.setenv("CXX", "no-such-compiler")
    found, said = trained(cli, "without", "--compile")
    assert said == [
        "--compile: the compiler no-such-compiler is not here; training goes on without compilation"
    ]
    assert all(torch.equal(found[key], weight) for key, weight in plain.items())


def test_with_a_compiler_that_fails_it_goes_on_with_one_line_a_class(cli, monkeypatch):
    plain, _ = trained(cli, "plain")
    monkeypatch.setattr("torch._inductor.config.cpp.cxx", (None, "false"))
    found, said = trained(cli, "failing", "--compile")
    assert [line.split(":")[1] for line in said] == [
        " ImageEncoder stays as it is",
        " ImageDecoder stays as it is",
    ]
    assert all(torch.equal(found[key], weight) for key, weight in plain.items())
