"""Two processes, each with half of a batch, take the steps that one takes with the whole."""

import pytest
import torch
from distributed_trials import (
    PROCESSES,
    assert_same_reports,
    assert_same_steps,
    batch_that_cannot_be_divided,
    reports_of_text,
    steps_of_text,
    steps_on_gpus,
    together,
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of two processes found, by the names of the trials."""
    folder = tmp_path_factory.mktemp("distributed")
    return together(folder, steps_of_text, batch_that_cannot_be_divided, reports_of_text)


def test_every_algorithm(found):
    assert_same_steps([each["steps_of_text"] for each in found], steps_of_text())


def test_a_batch_that_cannot_be_divided_evenly_and_unknown_words(found):
    assert_same_steps(
        [each["batch_that_cannot_be_divided"] for each in found], batch_that_cannot_be_divided()
    )


def test_the_reports_of_every_algorithm(found):
    assert_same_reports([each["reports_of_text"] for each in found], reports_of_text())


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < PROCESSES, reason="needs a GPU for each process")
def test_algorithms_on_two_gpus(tmp_path):
    found = together(tmp_path, steps_on_gpus)
    assert_same_steps([each["steps_on_gpus"] for each in found], steps_on_gpus(), rtol=1e-2, atol=1e-3)
