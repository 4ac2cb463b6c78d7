"""Two processes, each with half of a batch, take the steps that one takes with the whole."""

import pytest
import torch
from distributed_trials import batch_that_cannot_be_divided, steps_of_text, together


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of two processes found, by the names of the trials."""
    folder = tmp_path_factory.mktemp("distributed")
    return together(folder, steps_of_text, batch_that_cannot_be_divided)


def check(of_ranks, whole):
    """Compare metrics, weights and random numbers of two processes with those of one."""
    assert whole.keys() == of_ranks[0].keys()
    for name, expected in whole.items():
        first, second = (each[name] for each in of_ranks)
        torch.testing.assert_close(first, second, rtol=0, atol=0, equal_nan=True, msg=f"{name}: ranks")
        for mine, theirs in zip(first["metrics"], expected["metrics"], strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5, msg=f"{name}: {mine} {theirs}")
        for part, weight in expected["weights"].items():
            found = first["weights"][part]
            near = {"rtol": 1e-4, "atol": 1e-5, "equal_nan": True}  # of a target before the first update
            torch.testing.assert_close(found, weight, **near, msg=f"{name}: {part}")
        assert torch.equal(first["random state"], expected["random state"]), name


def test_every_algorithm(found):
    check([each["steps_of_text"] for each in found], steps_of_text())


def test_a_batch_that_cannot_be_divided_evenly_and_unknown_words(found):
    check([each["batch_that_cannot_be_divided"] for each in found], batch_that_cannot_be_divided())
