"""Signals that ask a process to end: collected, raised, and left alone where the caller ignores them."""

import os
import signal
import threading

import pytest

from seqgen.core import signals
from seqgen.core.signals import ENDING, BrokenOff, Terminated


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", ENDING)
def test_the_first_is_collected_and_the_handler_put_back(number):
    before = signal.getsignal(number)
    with signals.collected() as caught:
        send(number)
        assert caught == [number]
        assert signal.getsignal(number) is before  # a second one ends the process
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", ENDING)
def test_outside_of_a_training_they_are_an_exception(number):
    before = signal.getsignal(number)
    with pytest.raises(Terminated, match=number.name) as caught, signals.raising():
        send(number)
    assert caught.value.number == number
    assert not isinstance(caught.value, Exception)
    assert signal.getsignal(number) is before


def test_collecting_within_raising_ends_at_the_second():
    with signals.raising(), signals.collected() as caught:
        send(signal.SIGTERM)
        with pytest.raises(Terminated):
            send(signal.SIGTERM)
    assert caught == [signal.SIGTERM]


@pytest.mark.parametrize("second", ENDING)
def test_the_second_may_be_of_any_kind(second):
    handlers = [signal.getsignal(number) for number in ENDING]
    with signals.raising(), signals.collected() as caught:
        send(signal.SIGTERM)
        with pytest.raises(Terminated) as ended:
            send(second)
    assert (caught, ended.value.number) == ([signal.SIGTERM], second)
    assert [signal.getsignal(number) for number in ENDING] == handlers


def test_work_is_broken_off_where_the_signal_comes_and_nothing_after_it():
    with signals.collected() as caught:
        with caught.breaking_off():
            pass
        with pytest.raises(BrokenOff), caught.breaking_off():
            send(signal.SIGTERM)
        assert caught == [signal.SIGTERM]
        assert not caught.breaks_off
        with pytest.raises(BrokenOff), caught.breaking_off():  # what begins after it, at once
            raise AssertionError("it begins")


def test_outside_of_such_a_block_it_is_collected_only():
    with signals.collected() as caught:
        with caught.breaking_off():
            pass
        send(signal.SIGTERM)
        assert caught == [signal.SIGTERM]


def test_what_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals.raising(), signals.collected() as caught:
            send(signal.SIGHUP)
            assert caught == []
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_nothing_is_handled():
    found = []

    def work():
        with signals.collected() as caught, signals.raising():
            found.append(caught)

    thread = threading.Thread(target=work)
    before = [signal.getsignal(number) for number in ENDING]
    thread.start()
    thread.join()
    assert found == [[]]
    assert [signal.getsignal(number) for number in ENDING] == before
