"""States: what grows in place is what copies would be."""

import random

import pytest
import torch

from seqgen.models import state as states
from seqgen.models.state import append, branch, keep, repeat, roomy, select

ROWS, WIDTH, STEPS, N = 5, 3, 11, 2


def grown(state, count):
    """Read tokens: random numbers of as many positions, and a fixed part that changes."""
    part, fixed = state
    return append(part, torch.randn(len(part), count, WIDTH)), fixed + 1


def run(seed, room):
    """Let rows read, branch and leave by a seed; → the states after each."""
    torch.manual_seed(seed)
    choices = random.Random(seed)
    state = (torch.empty(ROWS, 0, WIDTH), torch.randn(ROWS, 1, WIDTH))
    if room is not None:
        state = roomy(state, *room)
    found = []
    for _ in range(STEPS):
        state = grown(state, choices.choice((1, 1, 2)))
        found.append([part.clone() for part in state])
        state = branch(state, slice(choices.randrange(3)), N)
        found.append([part.clone() for part in state])
        rows = choices.sample(range(len(state[0])), max(3, len(state[0]) - choices.randrange(4)))
        if choices.random() < 0.5:
            rows.sort()
        state = keep(state, torch.tensor(rows))
        found.append([part.clone() for part in state])
    return found


@pytest.mark.parametrize("room", [(1000, 1000), (1, 1), (7, 3)])
@pytest.mark.parametrize("seed", range(7))
def test_what_grows_in_place_is_what_copies_would_be(seed, room, monkeypatch):
    monkeypatch.setattr(states, "LEAST", 2)
    expected, found = run(seed, None), run(seed, room)
    assert all(
        torch.equal(*pair) for each in zip(expected, found, strict=True) for pair in zip(*each, strict=True)
    )


def test_branching_adds_copies_as_repeating_does():
    state = (torch.arange(ROWS * WIDTH).view(ROWS, WIDTH),)
    (part,) = branch(state, slice(1, 3), N)
    assert torch.equal(part[:ROWS], state[0])
    assert torch.equal(part[ROWS:], repeat(select(state, slice(1, 3)), N)[0])


def test_what_has_room_is_not_copied():
    (part,) = roomy((torch.empty(ROWS, 0, WIDTH),), 4 * ROWS, STEPS)
    part = append(part, torch.randn(ROWS, 1, WIDTH))
    place = part.data_ptr()
    for _ in range(STEPS - 1):
        part = append(part, torch.randn(len(part), 1, WIDTH))
    (part,) = branch((part,), slice(0, 3), N)
    (part,) = keep((part,), torch.tensor([0, 9, 2]))
    assert part.data_ptr() == place
    assert part.untyped_storage().nbytes() == 4 * ROWS * STEPS * WIDTH * 4


def test_a_buffer_holds_no_more_than_can_come():
    (part,) = roomy((torch.empty(ROWS, 0, WIDTH),), 2 * ROWS + 1, STEPS)
    for _ in range(STEPS):
        part = append(part, torch.randn(len(part), 1, WIDTH))
    (part,) = branch((part,), slice(None), 1)
    assert part.untyped_storage().nbytes() == (2 * ROWS + 1) * STEPS * WIDTH * 4


def test_parts_that_have_positions_already_are_left_as_they_are():
    state = (torch.randn(ROWS, 1, WIDTH), torch.randn(ROWS))
    assert all(mine is own for mine, own in zip(roomy(state, 7, 7), state, strict=True))


def test_new_positions_decide_the_type():
    for state in ((torch.empty(ROWS, 0, WIDTH),), roomy((torch.empty(ROWS, 0, WIDTH),), ROWS, 3)):
        part = append(state[0], torch.ones(ROWS, 1, WIDTH, dtype=torch.bfloat16))
        assert append(part, torch.ones(ROWS, 1, WIDTH, dtype=torch.bfloat16)).dtype == torch.bfloat16
