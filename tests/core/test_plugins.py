"""Names of code: registries, entry points, `module:Name`, what goes wrong, and what is trusted."""

import hashlib
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from seqgen.core import plugins
from seqgen.core.errors import UserError

REGISTRY = {"near": "seqgen.core.errors:UserError", "far": "seqgen.core.optim:adamw"}


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of the user's, in the folder in which the command was started."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "plugin_of_a_test.py"
    path.write_text("class Mine:\n    pass\n")
    yield path
    sys.modules.pop("plugin_of_a_test", None)


def test_a_line_of_the_registry():
    assert plugins.resolve("near", REGISTRY, "thing") is UserError


def test_a_module_in_the_current_folder_and_its_name(module):
    found = plugins.resolve("plugin_of_a_test:Mine", REGISTRY, "thing")
    assert found.__name__ == "Mine"
    assert plugins.import_name("plugin_of_a_test:Mine") is found


def test_an_entry_point_of_an_installed_package(monkeypatch):
    asked = []

    def entry_points(*, group):
        asked.append(group)
        return [EntryPoint("mine", "seqgen.core.errors:did_you_mean", group)]

    monkeypatch.setattr(plugins, "entry_points", entry_points)
    found = plugins.resolve("mine", REGISTRY, "thing", group="seqgen.things")
    assert found.__name__ == "did_you_mean"
    assert (
        plugins.resolve("near", REGISTRY, "thing", group="seqgen.things") is UserError
    )  # the registry first
    assert asked == ["seqgen.things"]
    with pytest.raises(UserError, match="no thing 'min'"):
        plugins.resolve("min", REGISTRY, "thing", group="seqgen.things")
    with pytest.raises(UserError, match="no thing 'mine'"):
        plugins.resolve("mine", REGISTRY, "thing")  # no group to look in


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nea", "no thing 'nea'; did you mean 'near'"),
        (
            "absent_module:Mine",
            "cannot import 'absent_module:Mine': no module 'absent_module'; give module:Class",
        ),
        ("plugin_of_a_test:Other", "module 'plugin_of_a_test' has no 'Other'; give module:Class"),
        ("plugin_of_a_test:", "module 'plugin_of_a_test' has no ''; give module:Class"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(module, name, message):
    with pytest.raises(UserError, match=message) as caught:
        plugins.resolve(name, REGISTRY, "thing")
    assert "\n" not in str(caught.value)


def test_the_hash_is_of_the_file_and_code_of_the_package_has_none(module):
    mine = plugins.import_name("plugin_of_a_test:Mine")
    assert plugins.source_hash(mine) == hashlib.sha256(module.read_bytes()).hexdigest()
    before = plugins.source_hash(mine)
    module.write_text("class Mine:\n    '''Changed.'''\n")
    assert plugins.source_hash(mine) != before
    assert plugins.source_hash(UserError) is None


def test_a_run_may_name_what_the_registry_the_user_or_trust_allows():
    where = Path("runs/a/config.json")
    plugins.check_trusted("near", REGISTRY, where, trust=False, given=None)
    plugins.check_trusted("theirs:Code", REGISTRY, where, trust=True, given=None)
    plugins.check_trusted("theirs:Code", REGISTRY, where, trust=False, given="theirs:Code")
    for given in (None, "other:Code", "near"):
        with pytest.raises(UserError, match=r"'runs/a/config.json' names code outside seqgen, 'theirs:Code'"):
            plugins.check_trusted("theirs:Code", REGISTRY, where, trust=False, given=given)


@pytest.mark.parametrize("name", [":x", ":", "..:x", ".sub:x"])
def test_a_name_without_a_module_is_refused(name):
    with pytest.raises(UserError, match=r"cannot import '.*'; give module:Class as Python imports it"):
        plugins.resolve(name, REGISTRY, "thing")
