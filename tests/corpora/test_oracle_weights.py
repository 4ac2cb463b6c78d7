"""The weights of an oracle: a pickle read without running code, names and shapes, the file it becomes."""

import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest
from helpers import ORACLE_SIZES, oracle_arrays, oracle_pickle_list

from seqgen.core.errors import UserError
from seqgen.corpora import oracle_weights
from seqgen.corpora.oracle_weights import from_pickle, read, read_npz, write_npz

V, E, H = ORACLE_SIZES


@pytest.mark.parametrize("protocol", [2, 4])
def test_the_pickle_is_the_same_weights_in_another_order(protocol: int, tmp_path: Path):
    path = tmp_path / "target.pkl"
    path.write_bytes(pickle.dumps(oracle_pickle_list(oracle_arrays()), protocol=protocol))
    found = read(path)
    assert list(found) == list(oracle_weights.NAMES)
    for name, array in oracle_arrays().items():
        assert np.array_equal(found[name], array), name
    write_npz(tmp_path / "target.npz", found)
    again = read(tmp_path / "target.npz")
    assert oracle_weights.digest(again) == oracle_weights.digest(oracle_arrays())
    assert oracle_weights.digest(oracle_arrays(1)) != oracle_weights.digest(oracle_arrays())
    assert oracle_weights.size(again) == 4 * (V * E + 4 * H * (E + H + 1) + H * V + V)


class Runs:
    """Pickled as a call, as an attacker's pickle is."""

    def __init__(self, function, *arguments) -> None:
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def exploits(path: Path) -> list[object]:
    import codecs
    import os

    return [
        Runs(os.system, f"touch {path}"),
        Runs(subprocess.call, ["touch", str(path)]),
        Runs(eval, f"open({str(path)!r}, 'w')"),
        Runs(np.load, str(path)),
        Runs(codecs.decode, b"x", "rot13"),
    ]


@pytest.mark.parametrize("number", range(5))
def test_a_pickle_that_would_run_code_writes_nothing(number: int, tmp_path: Path):
    touched, path = tmp_path / "touched", tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps([*oracle_pickle_list(oracle_arrays())[:14], exploits(touched)[number]]))
    with pytest.raises(UserError, match="which is no part of a NumPy array"):
        from_pickle(path)
    assert not touched.exists()


def test_a_codec_other_than_latin1_is_not_looked_up(tmp_path: Path):
    import _codecs

    path = tmp_path / "bad.pkl"
    path.write_bytes(pickle.dumps([Runs(_codecs.encode, "x", "rot13")]))
    with pytest.raises(UserError, match="codec 'rot13'"):
        from_pickle(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pickle.dumps({"a": 1}), "no list of NumPy arrays"),
        (pickle.dumps([np.zeros(3, int)]), "no list of NumPy arrays"),
        (pickle.dumps([np.array([None, "x"])]), "no list of NumPy arrays"),
        (pickle.dumps([np.zeros(3)] * 3), "holds 3 arrays"),
        (pickle.dumps([np.zeros(3)] * 15), "no LSTM oracle|other shapes"),
        (b"no pickle", "no pickle of NumPy arrays"),
        (pickle.dumps(oracle_pickle_list(oracle_arrays()))[:-50], "no pickle of NumPy arrays"),
    ],
)
def test_other_pickles(content: bytes, message: str, tmp_path: Path):
    path = tmp_path / "other.pkl"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        from_pickle(path)


def test_a_part_of_a_huge_number_allocates_nothing(tmp_path: Path):
    (tmp_path / "a.pkl").write_bytes(b"(lp99999999\n.")
    with pytest.raises(UserError, match=r"is no pickle of NumPy arrays \(it numbers a part 99999999\)"):
        from_pickle(tmp_path / "a.pkl")


def test_a_shape_of_more_numbers_than_there_are_is_refused(tmp_path: Path):
    content = pickle.dumps([np.zeros((3, 5), np.float32)], protocol=0)
    assert b"I3\nI5\n" in content
    (tmp_path / "a.pkl").write_bytes(content.replace(b"I3\nI5\n", b"I3\n" + b"I99999999999\n" * 9))
    with pytest.raises(UserError, match="claims an array of more numbers than it holds"):
        from_pickle(tmp_path / "a.pkl")


def test_a_type_of_numbers_is_known_by_its_code_alone(tmp_path: Path, recwarn: pytest.WarningsRecorder):
    for arguments in (b"V" + b"f4" * 50 + b"\nI00\nI01\n", b"Vf4\nVlatin1\nI01\n"):
        (tmp_path / "a.pkl").write_bytes(b"cnumpy\ndtype\n(" + arguments + b"tR.")
        with pytest.raises(UserError, match=r"by no code|no list of NumPy arrays"):
            from_pickle(tmp_path / "a.pkl")
    assert not recwarn.list


def test_other_npz_files(tmp_path: Path):
    path = tmp_path / "other.npz"
    with pytest.raises(UserError, match="no file"):
        read(path)
    path.write_bytes(b"no zip")
    with pytest.raises(UserError, match="cannot read the oracle"):
        read_npz(path)
    write_npz(path, {"embedding": np.zeros((V, E))})
    with pytest.raises(UserError, match="holds embedding, not embedding, weight_ih"):
        read_npz(path)
    write_npz(path, oracle_arrays() | {"bias": np.full(4 * H, np.nan, np.float32)})
    with pytest.raises(UserError, match="not finite"):
        read_npz(path)
    write_npz(path, oracle_arrays() | {"bias": np.full(4 * H, 1e300)})
    with pytest.raises(UserError, match="not finite"):
        read_npz(path)
    write_npz(path, oracle_arrays() | {"bias": np.zeros(4 * H, np.complex64)})
    with pytest.raises(UserError, match="not floating-point"):
        read_npz(path)
    path.write_bytes(path.read_bytes().replace(b"PK\x01\x02", b"PK\x01\x03", 1))
    with pytest.raises(UserError, match="cannot read the oracle"):
        read_npz(path)


def test_an_npz_runs_no_pickle(tmp_path: Path):
    np.savez(
        tmp_path / "bad.npz", embedding=np.array([Runs(eval, f"open({str(tmp_path / 'touched')!r}, 'w')")])
    )
    with pytest.raises(UserError, match="cannot read the oracle"):
        read_npz(tmp_path / "bad.npz")
    assert not (tmp_path / "touched").exists()


def test_the_recipe_has_the_digest_of_the_real_weights(data_dir: Path):
    from seqgen.corpora.recipes import get_recipe

    (file,) = get_recipe("seqgan-oracle").files
    found = read_npz(data_dir / "oracle/seqgan_oracle_lstm.npz")
    assert (oracle_weights.digest(found), oracle_weights.size(found)) == (file.sha256, file.size)
