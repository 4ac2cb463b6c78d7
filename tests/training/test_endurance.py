"""A long training holds as many tensors and open files at its end as after its beginning."""

import pytest
from endurance import train, trainings

NAMES = ("mle", "seqgan", "vae")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    made = trainings(tmp_path_factory.mktemp("endurance"), steps=500)
    return {name: train(make(), every=100) for name, make in made}


@pytest.mark.parametrize("name", NAMES)
def test_tensors_open_files_and_memory_are_flat(measured, name):
    readings = measured[name][1:]
    assert {each.files for each in readings} == {readings[0].files}
    assert {each.tensors for each in readings} == {readings[0].tensors}
    # oneDNN keeps the kernels that it has compiled, up to 1,024 of them: some ten mebibytes at first.
    assert readings[-1].memory - readings[0].memory < 40 * 2**20


@pytest.mark.parametrize("name", NAMES)
def test_the_disk_grows_by_the_reports_alone(measured, name):
    first, last = measured[name][1], measured[name][-1]  # before the first of 100 steps no state has moments
    reports = (last.step - first.step) / 100
    assert last.checkpoint == pytest.approx(first.checkpoint, rel=0.01)
    assert last.samples / first.samples == pytest.approx((reports + 3) / 3, rel=0.3)
    assert (last.logs - first.logs) / reports < 8_000
