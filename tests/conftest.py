"""What every test may use: the real data, and one torch thread so that timings and results do not drift."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


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
