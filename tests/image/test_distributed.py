"""Two processes, each with half of the images of a batch, take the steps that one takes with the whole."""

from distributed_trials import assert_same_steps, steps_of_images, together


def test_every_model(tmp_path):
    found = together(tmp_path, steps_of_images)
    # The gradient of a penalty jumps where a leaky ReLU bends, and rounding decides on which side that is.
    assert_same_steps([each["steps_of_images"] for each in found], steps_of_images(), rtol=2e-3, atol=2e-4)
