"""A checkpoint that is not of this training is refused in one line, and a packed one is not unpacked."""

import io
import math
import time
import zipfile

import pytest
import torch
from torch import nn

from seqgen.core.errors import UserError
from seqgen.training import loop, run_folder
from seqgen.training.checkpoint import check_finite, check_hooks, check_means, check_report, checked

IN, OUT, ROWS = 3, 5, 7


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(2)
        self.net = nn.Linear(IN, OUT)
        self.optimizers = {"net": torch.optim.AdamW(self.parameters(), lr=0.1)}


class Still:
    """A stream of batches that has no place."""

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


@pytest.fixture
def run(tmp_path):
    """Return a run with a checkpoint of a step."""
    made = run_folder.create(tmp_path, {"algorithm": "toy"})
    toy = Toy()
    toy.net(torch.ones(ROWS, IN)).sum().backward()
    toy.optimizers["net"].step()
    loop.save(toy, Still(), made, loop.Progress(step=1, sums={"loss": 2.5}, counts={"loss": 1}))
    return made


def change(run, keys, value):
    """Change a value of the checkpoint, or leave it out where the value is `...`."""
    state = run_folder.load_state(run)
    *outer, last = keys
    inside = state
    for key in outer:
        inside = inside[key]
    if value is ...:
        del inside[last]
    else:
        inside[last] = value
    run_folder.save_state(run, state)


OPTIMIZER = ("optimizers", "net")
GROUP = (*OPTIMIZER, "param_groups", 0)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("weights",), []),
        (("weights",), {1: 2}),
        (("weights", "net.weight"), torch.zeros(OUT, IN + 1)),
        (("weights", "net.weight"), torch.full((OUT, IN), math.nan)),
        (("weights", "net.weight"), torch.zeros(OUT, IN, device="meta")),
        (("weights", "net.weight"), "text"),
        (("optimizers",), None),
        (OPTIMIZER, {}),
        ((*OPTIMIZER, "state"), []),
        ((*OPTIMIZER, "state", 0), {}),
        ((*OPTIMIZER, "state", 7), {"step": torch.zeros(()), "exp_avg": 1, "exp_avg_sq": 1}),
        ((*OPTIMIZER, "state", 0, "exp_avg"), ...),
        ((*OPTIMIZER, "state", 0, "exp_avg"), (OUT, IN)),
        ((*OPTIMIZER, "state", 0, "step"), torch.zeros(OUT, IN)),
        ((*OPTIMIZER, "state", 0, "exp_avg"), torch.zeros(())),
        ((*OPTIMIZER, "state", 0, "other"), "text"),
        ((*OPTIMIZER, "state", 0, "exp_avg"), torch.zeros(OUT, IN + 1)),
        ((*OPTIMIZER, "state", 0, "exp_avg_sq"), torch.zeros(OUT, IN, dtype=torch.int64)),
        ((*OPTIMIZER, "state", 0, "exp_avg"), torch.zeros(()).expand(OUT, IN)),
        ((*OPTIMIZER, "state", 0, "exp_avg"), torch.zeros(OUT, IN).to_sparse()),
        ((*OPTIMIZER, "state", 0, "exp_avg"), torch.zeros(OUT, IN, device="meta")),
        ((*OPTIMIZER, "param_groups"), torch.zeros(3)),
        ((*OPTIMIZER, "param_groups"), [1]),
        ((*OPTIMIZER, "param_groups"), []),
        ((*GROUP, "lr"), "fast"),
        ((*GROUP, "foreach"), torch.ones(2)),
        ((*GROUP, "lr"), math.nan),
        ((*GROUP, "betas"), (0.9,)),
        ((*GROUP, "betas"), 0.9),
        ((*GROUP, "params"), [0]),
        ((*GROUP, "params"), [0, 0]),  # torch would give the bias the moments of the weight
        ((*GROUP, "params"), [1, 0]),
        ((*GROUP, "maximize"), None),
        ((*GROUP, "capturable"), None),
        ((*GROUP, "foreach"), "text"),
        (("rng",), torch.zeros(3, dtype=torch.uint8)),
        (("rng",), "text"),
        (("progress",), [1]),
        (("progress", "step"), "3"),
        (("progress", "step"), True),
        (("progress", "seconds"), math.inf),
        (("progress", "finished"), 3),
        (("progress", "other"), 3),
        (("progress", "sums"), {"loss": None}),
        (("progress", "counts"), {}),
        (("progress", "counts"), {"loss": 0}),
        (("batches",), ...),
    ],
)
def test_what_is_not_of_this_training_is_refused(run, keys, value):
    change(run, keys, value)
    with pytest.raises(UserError, match=r"state.pt' is no checkpoint of this run \("):
        loop.resume(Toy(), Still(), run)


def test_what_an_older_version_of_torch_did_not_write_is_completed(run):
    change(run, (*GROUP, "decoupled_weight_decay"), ...)
    toy = Toy()
    assert loop.resume(toy, Still(), run).step == 1
    assert (
        toy.optimizers["net"].state_dict()["param_groups"]
        == Toy().optimizers["net"].state_dict()["param_groups"]
    )


def test_how_another_device_computed_does_not_matter(run):
    change(run, (*GROUP, "fused"), None)
    toy = Toy()
    toy.optimizers["net"].param_groups[0]["fused"] = False
    assert loop.resume(toy, Still(), run).step == 1
    change(run, (*GROUP, "fused"), True)
    toy.optimizers["net"].param_groups[0]["fused"] = None
    assert loop.resume(toy, Still(), run).step == 1


def test_parts_by_themselves():
    toy = Toy()
    assert checked(toy.optimizers["net"].state_dict(), toy.optimizers["net"])["state"] == {}
    check_finite(toy)
    with torch.no_grad():
        toy.net.bias[3] = math.inf
    with pytest.raises(ValueError, match=r"numbers of net.bias are not finite"):
        check_finite(toy)
    check_means({"a": 1.5}, {"a": 2, "b": 1})
    with pytest.raises(ValueError, match=r"the sum of .a. is 1\.5, of None steps"):
        check_means({"a": 1.5}, {})


@pytest.mark.parametrize("report", [{"a": "2.5"}, {"a": [1.0]}, {3: 1.0}])
def test_a_report_that_holds_no_numbers_is_damage(report):
    """What is measured later is compared with it."""
    check_report({"step": 0, "a": 1.5, "b": math.nan, "c": None})
    with pytest.raises(ValueError, match="of the first report is"):
        check_report(report)


def test_a_checkpoint_that_is_packed_is_not_unpacked(run):
    """88 MB of zeros in 90 kB: torch's reader would unpack any number of them."""
    sink = io.BytesIO()
    torch.save({"zeros": torch.zeros(22_000_000)}, sink)
    with (
        zipfile.ZipFile(sink) as whole,
        zipfile.ZipFile(run.path / run_folder.STATE, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    assert (run.path / run_folder.STATE).stat().st_size < 100_000
    with pytest.raises(UserError, match=r"state.pt' is corrupt"):
        run_folder.load_state(run)


def test_a_name_of_any_length_costs_no_time(run):
    """Torch would search its own message of it for minutes."""
    pickled = b"\x80\x02ctorch._utils\n_rebuild_ten" + b"[" * 100_000 + b"\n."
    with zipfile.ZipFile(run.path / run_folder.STATE, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
    start = time.process_time()
    with pytest.raises(UserError, match=r"state\.pt' is corrupt"):
        run_folder.load_state(run)
    assert time.process_time() - start < 5


def test_a_tensor_with_hooks_is_refused(run):
    state = run_folder.load_state(run)
    hooked = torch.zeros(3)
    hooked._backward_hooks = "text"  # as a pickle can set them
    with pytest.raises(ValueError, match="a tensor of it has hooks"):
        check_hooks({"optimizers": [("state", hooked)]})
    check_hooks(state)
