"""Functions of the user's: found by file and by module, their errors and results in one line."""

import hashlib

import numpy as np
import pytest

from seqgen.core import user_functions
from seqgen.core.errors import UserError

CODE = """
def words(sentences):
    return [len(each.split()) for each in sentences]

def fails(sentences):
    return [1 / len(each) for each in sentences]

def short(sentences):
    return [1.0]

def undefined(sentences):
    return [float("nan")] * len(sentences)

def texts(sentences):
    return sentences

value = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_function_of_a_file(folder):
    words = user_functions.load("mine.py:words")
    assert words(("a b", "", "a b c")).tolist() == [2, 0, 3]
    assert words([]).shape == (0,)
    assert words.short == "words"
    assert words.source_hash == hashlib.sha256(CODE.encode()).hexdigest()
    assert user_functions.load(f"{folder}/mine.py:words")(["x"]) == [1]


def test_a_function_of_a_module(folder):
    (folder / "other_rewards.py").write_text("def one(sentences):\n    return [True] * len(sentences)\n")
    assert user_functions.load("other_rewards:one")(["x", "y"]).tolist() == [1, 1]
    assert isinstance(user_functions.load("other_rewards:one")(["x"]), np.ndarray)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mine.py:fails",
            r"fails failed: ZeroDivisionError: division by zero \(.*mine.py, line 6, in",
        ),
        ("mine.py:short", "mine.py:short returned 1 numbers for 2 sentences"),
        ("mine.py:undefined", "mine.py:undefined returned nan for 'a'; return a finite number"),
        ("mine.py:texts", "mine.py:texts failed: ValueError: could not convert string to float"),
    ],
)
def test_what_it_does_wrong_is_said_in_one_line(folder, name, message):
    function = user_functions.load(name)
    with pytest.raises(UserError, match=message) as caught:
        function(["a", ""])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine.py", "'mine.py' names no function; give FILE.py:function"),
        ("mine.py:wrods", "'mine.py' has no function 'wrods'"),
        ("mine.py:value", "'mine.py' has no function 'value'"),
        ("gone.py:words", "there is no file 'gone.py'"),
        ("no_such_module:words", "no module 'no_such_module'"),
        ("broken.py:words", r"'broken.py' cannot be imported: SyntaxError: .*broken.py, line 1"),
        ("raises.py:words", r"'raises.py' cannot be imported: KeyError: 'x' \(.*raises.py, line 2"),
    ],
)
def test_a_name_of_nothing(folder, name, message):
    (folder / "broken.py").write_text("def words(:\n")
    (folder / "raises.py").write_text("def words(sentences): ...\n{}['x']\n")
    with pytest.raises(UserError, match=message):
        user_functions.load(name)
