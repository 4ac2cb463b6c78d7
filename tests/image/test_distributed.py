"""Two processes, each with half of the images of a batch, take the steps that one takes with the whole."""

from algorithms.test_distributed import check
from distributed_trials import steps_of_images, together


def test_every_model(tmp_path):
    found = together(tmp_path, steps_of_images)
    check([each["steps_of_images"] for each in found], steps_of_images())
