"""The weights of the SeqGAN paper's oracle: read from its pickle without running code, kept as `.npz`.

The pickle is a list of the arrays of a TensorFlow LSTM, in the order of `target_lstm.py` of the paper's code.
A pickle can call any function while it is read; this reader knows the parts of a NumPy array and nothing
else.
"""

import hashlib
import io
import pickle
import pickletools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from seqgen.core.atomic_files import write_bytes
from seqgen.core.errors import UserError

Arrays = dict[str, NDArray[np.float32]]
NAMES = ("embedding", "weight_ih", "weight_hh", "bias", "output_weight", "output_bias")
"""(V, E), (4 H, E), (4 H, H), (4 H,), (H, V), (V,); gates in torch's order i, f, g, o."""
GATES = (0, 1, 3, 2)
"""The pickle's order of gates is input, forget, output, cell."""


class _ArrayUnpickler(pickle.Unpickler):
    """Reads lists, tuples, numbers, strings and NumPy arrays; UserError for anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return _reconstruct
        if (module, name) == ("numpy", "ndarray"):
            return np.ndarray
        if (module, name) == ("numpy", "dtype"):
            return _dtype
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        raise UserError(
            f"the pickle asks for {module}.{name}, which is no part of a NumPy array; it was not read any "
            "further, and nothing of it has been run"
        )


def _reconstruct(kind: Any, shape: Any, code: Any) -> NDArray:
    """Return the empty array that a pickle fills: a plain array, whatever class the pickle asks for."""
    return np.ndarray((0,), "b")


def _dtype(code: Any, align: Any = False, copy: Any = True) -> np.dtype:
    """Return the type of numbers that a pickle names, by its code alone."""
    if not isinstance(code, str) or len(code) > 8:
        raise UserError("the pickle asks for a type of numbers by no code")
    return np.dtype(code)


def _latin1(text: str, encoding: str = "latin1") -> bytes:
    """Return the bytes that protocol 2 writes as text; no other codec is looked up."""
    if encoding not in ("latin1", "latin-1"):
        raise UserError(f"the pickle asks for the codec {encoding!r}; only latin1 is read")
    return text.encode("latin-1")


def read_pickled_arrays(path: Path) -> list[NDArray]:
    """Read a pickled list of NumPy arrays of numbers; UserError for a pickle of anything else."""
    try:
        content = path.read_bytes()
        _check_lengths(content)
        found = _ArrayUnpickler(io.BytesIO(content), encoding="latin1").load()
    except UserError as error:
        raise UserError(f"'{path}' is not read: {error}; give the oracle of the SeqGAN paper") from error
    except MemoryError as error:  # what NumPy raises of a shape with too many numbers
        raise UserError(
            f"'{path}' claims an array of more numbers than it holds; give the oracle of the SeqGAN paper"
        ) from error
    except Exception as error:  # pickle raises whatever damaged bytes lead it to
        raise UserError(f"'{path}' is no pickle of NumPy arrays ({error}); download it again") from error
    is_arrays = isinstance(found, list | tuple) and all(
        isinstance(each, np.ndarray) and each.dtype.kind == "f" for each in found
    )
    if not is_arrays:
        raise UserError(f"'{path}' holds no list of NumPy arrays of numbers; give the oracle's pickle")
    return list(found)


def _check_lengths(content: bytes) -> None:
    """Raise ValueError where reading would allocate more than the file has, for a long string or memo."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name == "BYTEARRAY8":
            raise ValueError("it holds a bytearray")
        if "PUT" in opcode.name and int(argument) > len(content):
            raise ValueError(f"it numbers a part {argument}")


def from_pickle(path: Path) -> Arrays:
    """Read the paper's pickle and return its weights by name; UserError where it is another pickle."""
    arrays = read_pickled_arrays(path)
    if len(arrays) != 15:
        raise UserError(f"'{path}' holds {len(arrays)} arrays; the SeqGAN oracle has 15")
    try:
        parts = [[np.asarray(arrays[1 + 3 * gate + part], np.float32) for gate in GATES] for part in range(3)]
        named = {
            "embedding": arrays[0],
            "weight_ih": np.concatenate(parts[0], axis=1).T,
            "weight_hh": np.concatenate(parts[1], axis=1).T,
            "bias": np.concatenate(parts[2]),
            "output_weight": arrays[13],
            "output_bias": arrays[14],
        }
    except ValueError as error:
        raise UserError(f"'{path}' holds arrays of other shapes than the SeqGAN oracle: {error}") from error
    return check(named, path)


def read_npz(path: Path) -> Arrays:
    """Read weights from `.npz`; UserError where it is damaged or holds other arrays."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return check({name: stored[name] for name in stored.files}, path)
    except (UserError, MemoryError):
        raise
    except Exception as error:  # zipfile and NumPy raise whatever damaged bytes lead them to
        raise UserError(f"cannot read the oracle '{path}': {error}; fetch it again") from error


def read(path: Path) -> Arrays:
    """Read weights from `.npz`, or from the paper's pickle where the name ends otherwise."""
    if not path.is_file():
        raise UserError(f"no file '{path}'; give the oracle's .npz or the pickle of the SeqGAN code")
    return read_npz(path) if path.suffix == ".npz" else from_pickle(path)


def write_npz(path: Path, arrays: Mapping[str, NDArray]) -> None:
    """Write weights as `.npz`, atomically."""
    buffer = io.BytesIO()
    np.savez(buffer, **dict(arrays))
    write_bytes(path, buffer.getvalue())


def check(arrays: Mapping[str, NDArray], path: Path) -> Arrays:
    """Return weights as float32; UserError where names or shapes are not those of an LSTM oracle."""
    if set(arrays) != set(NAMES):
        raise UserError(f"'{path}' holds {', '.join(sorted(arrays)) or 'nothing'}, not {', '.join(NAMES)}")
    if not all(arrays[name].dtype.kind == "f" for name in NAMES):
        raise UserError(f"'{path}' holds numbers that are not floating-point; give an LSTM oracle")
    with np.errstate(over="ignore"):  # what is too large for float32 is infinite, and refused below
        found = {name: np.ascontiguousarray(arrays[name], np.float32) for name in NAMES}
    gates, embedding = (*found["weight_ih"].shape, 0, 0)[:2]
    vocab, hidden = len(found["embedding"]), gates // 4
    wanted = ((vocab, embedding), (gates, embedding), (gates, hidden), (gates,), (hidden, vocab), (vocab,))
    shapes = tuple(found[name].shape for name in NAMES)
    if shapes != wanted or not all(np.isfinite(each).all() for each in found.values()):
        raise UserError(f"'{path}' is no LSTM oracle: shapes {shapes}, or numbers that are not finite")
    return found


def digest(arrays: Mapping[str, NDArray]) -> str:
    """Return the SHA-256 of weights, in hex: of every name, shape and float32 in order."""
    total = hashlib.sha256()
    for name in NAMES:
        array = np.ascontiguousarray(arrays[name], "<f4")
        total.update(f"{name} {array.shape}\n".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def size(arrays: Mapping[str, NDArray]) -> int:
    """Return the bytes of weights as float32."""
    return sum(4 * each.size for each in arrays.values())
