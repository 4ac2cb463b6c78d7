"""What every test may use: the real data, and one torch thread so that timings and results do not drift."""

import os
import signal
from pathlib import Path

import pytest
import torch
from helpers import without_compaction

torch.set_num_threads(1)
# Under nohup, or in the background of a shell, these are ignored, and so they would be by what tests start.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)
# Tests of parity compare the code, not the ten bits that cuDNN's recurrent kernels keep by default.
torch.backends.cudnn.allow_tf32 = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if torch.cuda.is_available():
        return
    for item in items:
        if item.get_closest_marker("cuda"):
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data; tests that need it are skipped where it is absent."""
    root = Path(__file__).resolve().parents[1]
    path = Path(os.environ.get("SEQGEN_TEST_DATA", root / "../shared/data"))
    if not path.is_dir():
        pytest.skip(f"no real data at {path}; set SEQGEN_TEST_DATA")
    return path


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the token cache of tests out of the user's."""
    monkeypatch.setenv("SEQGEN_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture(params=["compacted", "in full"])
def shapes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What has ended leaves the batch, as on the CPU, or stays behind a mask, as on an accelerator."""
    if request.param == "in full":
        without_compaction(monkeypatch)
    return request.param


@pytest.fixture(scope="session")
def small_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each kind of likelihood on one corpus of 80 sentences, by the name of its algorithm.

    The autoencoder has learned the corpus by heart, the others have hardly begun.
    """
    import seqgen

    folder = tmp_path_factory.mktemp("small-runs")
    people, things = ("a cat", "two dogs", "the old man", "some birds"), ("sat", "sleep", "looked", "waited")
    places = ("on the mat.", "by a tree.", "in the rain.", "near us.", "at home, as ever.")
    lines = [f"{a} {b} {c}" for a in people for b in things for c in places]
    (folder / "train.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    test = [f"{a} {b} {c}" for a in ("a man", "two birds") for b in things[:3] for c in (places[4], "on us.")]
    (folder / "test.txt").write_text("".join(f"{line}\n" for line in test), encoding="utf-8")
    values = {"generator.embedding": 11, "generator.hidden": 31, "batch_size": 16, "lr": 0.02}
    latents = values | {"encoder.embedding": 11, "encoder.hidden": 31, "latent_dim": 7}
    heart = latents | {"generator.dropout": 0.0, "encoder.dropout": 0.0, "latent_penalty": 0.0}
    heart |= {"weight_decay": 0.0, "report_every": 300}
    made = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEQGEN_CACHE", str(folder / "cache"))
        for name, steps, chosen in (
            ("mle", 5, values),
            ("sentence-vae", 5, latents),
            ("autoencoder", 300, heart),
        ):
            options = {"run": folder / name, "test": str(folder / "test.txt"), "min_count": 1}
            seqgen.pretrain(str(folder / "train.txt"), name, steps=steps, values=chosen, **options)
            made[name] = folder / name
    return made
