"""Streams of random numbers: each as if alone, whatever is drawn between, within or beside its turns."""

import threading

import torch

from seqgen.core.random_state import RandomStream, apart, device_states, own_randomness, set_device_states


def numbers(seed: int, count: int) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.rand((), generator=generator).item() for _ in range(count)]


def begun(seed: int) -> RandomStream:
    with RandomStream() as stream:
        torch.manual_seed(seed)
    return stream


def draw(stream: RandomStream) -> float:
    with stream:
        return torch.rand(()).item()


def test_streams_in_turn_draw_what_each_draws_alone():
    one, other = begun(3), begun(5)
    drawn = [(draw(one), draw(other), draw(other)) for _ in range(7)]
    assert [a for a, _, _ in drawn] == numbers(3, 7)
    assert [each for _, b, c in drawn for each in (b, c)] == numbers(5, 14)


def test_a_turn_goes_on_after_another_within_it():
    one, other = begun(3), begun(5)
    with one:
        first = torch.rand(()).item()
        between = draw(other)
        with own_randomness(7):
            within = torch.rand(()).item()
        second = torch.rand(()).item()
    assert [first, second] == numbers(3, 2)
    assert [between, within] == numbers(5, 1) + numbers(7, 1)


def test_what_is_drawn_apart_disturbs_no_stream_unless_within_its_turn():
    stream = begun(3)
    drawn = [draw(stream)]
    with apart():
        torch.rand(11)
    drawn.append(draw(stream))
    with stream, apart():
        drawn.append(torch.rand(()).item())
    assert [*drawn, draw(stream)] == numbers(3, 4)


def test_streams_in_threads_draw_what_each_draws_alone():
    streams, drawn = {3: begun(3), 5: begun(5)}, {3: [], 5: []}
    meet = threading.Barrier(2)

    def work(seed: int) -> None:
        for _ in range(50):
            meet.wait(timeout=60)
            drawn[seed].append(draw(streams[seed]))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in streams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert drawn == {seed: numbers(seed, 50) for seed in streams}


def test_the_numbers_of_mps_are_kept_apart_as_well(monkeypatch):
    """MPS by a generator of the CPU in its place: torch has none of it here."""
    generator = torch.Generator().manual_seed(7)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "get_rng_state", generator.get_state)
    monkeypatch.setattr(torch.mps, "set_rng_state", generator.set_state)
    alone = numbers(7, 3)

    def drawn() -> float:
        return torch.rand((), generator=generator).item()

    assert drawn() == alone[0]
    with own_randomness(5):
        generator.manual_seed(5)
        assert drawn() == numbers(5, 1)[0]
    one, other = begun(3), begun(5)
    with one:
        assert drawn() == alone[1]
        with other:
            generator.manual_seed(11)
        assert drawn() == alone[2]
    states = device_states()
    assert states.keys() == {"mps"}
    then = drawn()
    set_device_states(states)
    assert drawn() == then
