import pytest
import torch
from distributed_trials import (
    PROCESSES,
    agreement_on_gpus,
    averaged_in_messages,
    losses_of_whole_batches,
    random_numbers,
    together,
    what_processes_agree_on,
)

from seqgen.core import device, distributed, launcher
from seqgen.core.errors import UserError


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of two processes found, by the names of the trials."""
    trials = losses_of_whole_batches, random_numbers, what_processes_agree_on, averaged_in_messages
    return together(tmp_path_factory.mktemp("distributed"), *trials)


def test_losses_and_gradients_of_divided_rows_are_those_of_the_whole(found):
    for name, expected in losses_of_whole_batches().items():
        assert float(expected[1:].abs().max()) > 1e-3, name
        for of_rank in found:
            mine = of_rank["losses_of_whole_batches"][name]
            torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-6, msg=name)


def test_each_rank_has_its_rows_of_the_numbers_that_one_process_draws(found):
    whole = random_numbers()
    for of_rank in (each["random_numbers"] for each in found):
        rank = int(of_rank["rank"])
        for name in ("uniform", "normal"):
            assert torch.equal(of_rank[name], whole[name][rank::PROCESSES])
        assert torch.equal(of_rank["of all"], whole["uniform"])
        assert torch.equal(of_rank["after"], whole["after"])


def test_what_processes_agree_on(found):
    first, second = (each["what_processes_agree_on"] for each in found)
    for each in (first, second):
        assert each["largest"] == 15
        assert each["averages"] == [1.5, 4.0]
        assert each["shared"] == {"of": 0, "seconds": 2.5}
        assert torch.equal(each["copied"], torch.tensor([1.5, 2.5]))
        assert each["error"].startswith("the weights have come to differ between the processes")
    assert sorted((first["speaks"], second["speaks"])) == [False, True]


def test_a_single_process_is_left_as_it_is(monkeypatch):
    for name in launcher.SAID:
        monkeypatch.setenv(name, "1")
    assert not launcher.is_launched()
    assert launcher.is_first()
    rows = torch.arange(6.0)
    with distributed.joined(), distributed.sharded():
        assert (distributed.rank(), distributed.count(), distributed.shards()) == (0, 1, 1)
        assert distributed.mean(rows) is rows
        assert distributed.gather(rows) is rows
        assert distributed.shard(rows) is rows
        assert distributed.part(6) == 6
        assert distributed.average_gradients([rows, None]) == [rows, None]
        assert distributed.speaks_first()


def test_what_started_without_torchrun_is_alone(monkeypatch):
    for name in launcher.SAID:
        monkeypatch.setenv(name, "2")
    assert launcher.is_launched()
    assert not launcher.is_first()
    monkeypatch.setenv("RANK", "0")
    assert launcher.is_first()
    monkeypatch.delenv("LOCAL_RANK")  # as under srun alone
    assert not launcher.is_launched()


def in_group(monkeypatch, rank=0, count=2):
    """Let this process take itself for one of several that it cannot talk to."""
    group = distributed._Group(rank, count, None)
    monkeypatch.setattr(distributed, "_group", type(distributed._group)("group", default=group))
    monkeypatch.setenv("LOCAL_RANK", str(rank))


@pytest.mark.parametrize("name", ["cuda:1", "mps", "tpu"])
def test_several_processes_take_no_device_by_its_number(monkeypatch, name):
    in_group(monkeypatch)
    with pytest.raises(UserError, match=f"--device {name}: several processes take --device cpu, or cuda"):
        device.pick(name)


def test_each_process_has_a_device_of_its_own(monkeypatch):
    in_group(monkeypatch, rank=1)
    assert device.pick("cpu") == torch.device("cpu")
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    assert device.pick() == device.pick("cuda") == torch.device("cuda", 1)
    assert chosen == [1, 1]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(
        UserError, match="has 1 CUDA devices and at least 2 processes; give torchrun --nproc-"
    ):
        device.pick()


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < PROCESSES, reason="needs a GPU for each process")
def test_what_processes_agree_on_by_nccl(tmp_path):
    for each in together(tmp_path, agreement_on_gpus):
        of_rank = each["agreement_on_gpus"]
        assert of_rank["copied"].tolist() == [1.5, 2.5]
        assert of_rank["mean"].item() == 1.5
        assert of_rank["rows"].flatten().tolist() == [0, 1, 2, 3]
        assert of_rank["shared"] == 0


def test_gradients_are_divided_into_messages_of_one_type(monkeypatch):
    monkeypatch.setattr(distributed, "MESSAGE_BYTES", 20)
    floats, halves = torch.zeros(2), torch.zeros(5, dtype=torch.float16)
    given = [floats, None, halves, floats, floats, torch.zeros(7), halves, floats]
    # 8, 8 and then 8 bytes too many; a message of its own for 28; halves of 10 bytes between.
    assert distributed._messages(given) == [[0, 3], [2, 6], [4], [5], [7]]


def test_gradients_of_several_messages_are_averaged(found):
    for of_rank in found:
        nothing, *averages = of_rank["averaged_in_messages"]
        assert nothing is None
        assert [each.tolist() for each in averages] == [[1.5 * i for i in range(n)] for n in (7, 11, 13)]
