"""Settings: typed overrides, nested keys, help text, and what a user gets wrong."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from seqgen.algorithms.seqgan import SeqGANConfig
from seqgen.core import settings
from seqgen.core.errors import UserError


@dataclass(frozen=True)
class Part:
    """A part."""

    layers: int = 2
    """how many layers"""
    width: float = 0.5


@dataclass(frozen=True)
class Outer:
    """Settings of two parts."""

    first: Part = field(default_factory=Part)
    second: Part = field(default_factory=lambda: Part(layers=7))
    cell: Literal["lstm", "gru"] = "lstm"
    """the cell,
    on two lines"""
    start: Literal["cold", "warm"] | None = None
    patience: int | None = 4
    tied: bool = False
    lr: float = 1e-3

    def __post_init__(self) -> None:
        settings.bounds(self, lr=(0.0, 1.0))


def test_overrides_are_typed_and_nested():
    given = {
        "first.layers": "3",
        "cell": "gru",
        "start": "warm",
        "patience": "none",
        "tied": "true",
        "lr": "2e-2",
    }
    changed = settings.override(Outer(), given)
    assert changed == Outer(first=Part(layers=3), cell="gru", start="warm", patience=None, tied=True, lr=0.02)
    assert settings.override(changed, {"start": "none"}).start is None


def test_a_round_trip_through_a_dictionary_changes_nothing():
    config = Outer(second=Part(layers=11, width=0.25), patience=None)
    assert settings.from_dict(Outer, settings.to_dict(config)) == config


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("cel", "gru", "no setting 'cel'; did you mean 'cell'"),
        ("first.layers", "inf", "first.layers takes a whole number; got 'inf'"),
        ("first.layers", [1, 2], "first.layers takes a whole number"),
        ("first.layers", "1e30", "first.layers takes a whole number; got '1e30'"),
        ("layers", "3", "fits first.layers and second.layers"),
        ("first.layers", "3.5", "first.layers takes a whole number; got '3.5'"),
        ("lr", "fast", "lr takes a number; got 'fast'"),
        ("lr", "nan", "lr takes a number; got 'nan'"),
        ("tied", "maybe", "tied takes true or false; got 'maybe'"),
        ("cell", "rnn", "cell=rnn; "),
        ("start", "warmer", "start=warmer; did you mean 'warm'"),
        ("lr", "2", "lr=2.0 is out of range: it must be at least 0 and at most 1"),
    ],
)
def test_a_wrong_setting_says_what_is_allowed(key, value, message):
    with pytest.raises(UserError, match=message):
        settings.override(Outer(), {key: value})


def test_an_unambiguous_ending_names_a_nested_setting():
    @dataclass(frozen=True)
    class Single:
        part: Part = field(default_factory=Part)

    assert settings.override(Single(), {"layers": 5}).part.layers == 5


def test_pairs_need_an_equals_sign():
    assert settings.parse_pairs(["a=1", "b = x=y"]) == {"a": "1", "b": "x=y"}
    with pytest.raises(UserError, match=r"--set takes key=value.*'hidden'"):
        settings.parse_pairs(["hidden"])


def test_toml_tables_are_dotted_keys(tmp_path):
    file = tmp_path / "s.toml"
    file.write_text("lr = 0.5\n[first]\nlayers = 3\n")
    assert settings.override(Outer(), settings.read_toml(file)) == Outer(first=Part(layers=3), lr=0.5)
    file.write_text("\ufefflr = 0.25\n", encoding="utf-8")  # a byte-order mark, as Windows editors write
    assert settings.read_toml(file) == {"lr": 0.25}
    file.write_text("lr = \n")
    with pytest.raises(UserError, match="is not TOML"):
        settings.read_toml(file)
    with pytest.raises(UserError, match="cannot read the settings file"):
        settings.read_toml(tmp_path / "absent.toml")


def test_help_is_read_from_the_source():
    table = settings.help_table(Outer())
    assert "first.layers=2" in table
    assert "second.layers=7" in table  # the default of the outer class, not of the part
    assert "how many layers" in table
    assert "the cell, on two lines" in table


def test_a_setting_of_a_part_out_of_range_is_named_as_the_user_names_it():
    with pytest.raises(
        UserError, match=r"setting policy\.ema_decay=2\.0 is out of range: it must be at least 0 and"
    ):
        settings.override(SeqGANConfig(), {"ema_decay": "2"})


def test_endings_that_fit_several_settings_are_not_offered():
    with pytest.raises(UserError) as caught:
        settings.override(SeqGANConfig(), {"zzz": "2"})
    offered = str(caught.value).split("allowed: ")[1].split(", ")
    assert {"generator.hidden", "discriminator.hidden", "ema_decay"} <= set(offered)
    assert "hidden" not in offered


@dataclass(frozen=True)
class Layers:
    """A net with one width a layer."""

    widths: tuple[int, ...] | None = None
    """units of each layer"""

    def __post_init__(self) -> None:
        settings.bounds(self, widths=(1, 1024))


@pytest.mark.parametrize("given", ["128, 256,512", [128, 256, 512], (128, 256, 512)])
def test_several_numbers_are_separated_by_commas_or_a_list(given):
    changed = settings.override(Layers(), {"widths": given})
    assert changed == Layers((128, 256, 512))
    assert settings.to_dict(changed) == {"widths": [128, 256, 512]}
    assert settings.from_dict(Layers, settings.to_dict(changed)) == changed
    assert settings.help_table(changed).startswith("widths=128,256,512  units of each layer")


def test_one_number_is_a_tuple_and_none_is_none():
    assert settings.override(Layers(), {"widths": 7}) == settings.override(Layers(), {"widths": "7"})
    assert settings.override(Layers((3,)), {"widths": "none"}) == Layers()


@pytest.mark.parametrize("given", ["", "128,", "a,b", [], [1.5], [[1]], "1.5", True])
def test_what_is_no_list_of_whole_numbers_is_refused(given):
    with pytest.raises(UserError, match="takes whole numbers separated by commas, as in 128,256; got"):
        settings.override(Layers(), {"widths": given})


def test_every_one_of_several_numbers_is_within_its_bounds():
    message = "setting widths=7,2000,3 is out of range: it must be at least 1 and at most 1024"
    with pytest.raises(UserError, match=message):
        settings.override(Layers(), {"widths": "7,2000,3"})
