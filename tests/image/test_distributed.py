"""Two processes, each with half of the images of a batch, take the steps that one takes with the whole."""

import pytest
from distributed_trials import (
    assert_same_reports,
    assert_same_steps,
    reports_of_images,
    steps_of_images,
    together,
)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of two processes found, by the names of the trials."""
    return together(tmp_path_factory.mktemp("distributed"), steps_of_images, reports_of_images)


def test_every_model(found):
    # The gradient of a penalty jumps where a leaky ReLU bends, and rounding decides on which side that is.
    assert_same_steps([each["steps_of_images"] for each in found], steps_of_images(), rtol=2e-3, atol=2e-4)


def test_the_reports_of_every_model(found):
    assert_same_reports([each["reports_of_images"] for each in found], reports_of_images())
