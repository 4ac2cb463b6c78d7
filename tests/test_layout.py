"""The layout of the package: a folder imports only from folders before it, read from the source by ast."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ORDER = (
    "core",
    "corpora",
    "data",
    "ngrams",
    "functional",
    "models",
    "metrics",
    "generation",
    "algorithms",
    "training",
    "inference",
    "evaluation",
    "report",
    "image",
    "bench",
    "cli",
)
IMAGE_ORDER = ("data", "networks", "models", "runs", "evaluation", "applications")
GENERATORS = {"rnn_generator", "transformer_generator", "relational_memory"}
EXEMPT = {"seqgen", "seqgen.__main__"}
"""Modules at the top that may import anything; `seqgen.api` may, but for the command line."""


def modules(root: Path) -> dict[str, Path]:
    """Find every module by its name; `cli` and `corpora` at the top are installed inside `seqgen`."""
    found = {}
    for top in ("seqgen", "cli", "corpora"):
        for path in sorted((root / top).rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            name = ".".join(parts if top == "seqgen" else ("seqgen", *parts))
            found[name.removesuffix(".__init__")] = path
    return found


def imports(name: str, path: Path, known: set[str]) -> set[str]:
    """Return the modules of the package that a module imports anywhere in it, in functions as well."""
    found = set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.rsplit(".", node.level - 1)[0] if node.level else ""
            base = ".".join(part for part in (above, node.module) if part)
            found |= {
                f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names
            }
    return {each for each in found if each.split(".")[0] == "seqgen"}


def place(module: str, order: tuple[str, ...], depth: int) -> int | None:
    """Return where a module's folder stands in an order; None where it is in no folder of it."""
    parts = module.split(".")
    return order.index(parts[depth]) if len(parts) > depth and parts[depth] in order else None


def wrong_imports(root: Path) -> list[str]:
    """Return every import that runs against the order, `importer → imported`."""
    known = modules(root)
    wrong = []
    for name, path in known.items():
        for other in imports(name, path, set(known)):
            if name not in EXEMPT and is_wrong(name, other):
                wrong.append(f"{name} → {other}")
    return sorted(wrong)


def is_wrong(name: str, other: str) -> bool:
    """Whether one module may not import the other."""
    if name == "seqgen.api":
        return place(other, ORDER, 1) == ORDER.index("cli")
    mine, theirs = place(name, ORDER, 1), place(other, ORDER, 1)
    if theirs is None:  # the names a script uses: for the command line alone
        return other == "seqgen.api" and mine != ORDER.index("cli")
    if mine is None:
        return True
    if theirs > mine:
        return True
    if other.split(".")[-1] in GENERATORS and other.startswith("seqgen.models.") and ORDER[mine] != "models":
        return True
    if ORDER[mine] != "image" or ORDER[theirs] != "image":
        return False
    inner, outer = place(name, IMAGE_ORDER, 2), place(other, IMAGE_ORDER, 2)
    if other == "seqgen.image":  # the registry of its models, which imports none of them
        return False
    return inner is not None and (outer is None or outer > inner)


def test_every_folder_is_in_the_order():
    folders = {
        path.name for path in (ROOT / "seqgen").iterdir() if path.is_dir() and path.name != "__pycache__"
    }
    assert folders | {"cli", "corpora"} == set(ORDER)
    image = {path.name for path in (ROOT / "seqgen/image").iterdir() if path.is_dir()} - {"__pycache__"}
    assert image == set(IMAGE_ORDER)


def test_a_module_imports_only_from_its_own_folder_and_those_before_it():
    assert wrong_imports(ROOT) == []


@pytest.fixture
def tree(tmp_path):
    """A small tree in order."""
    files = {
        "seqgen/__init__.py": "from seqgen.api import sample",
        "seqgen/api.py": "from seqgen.report import page",
        "seqgen/core/errors.py": "import ast",
        "seqgen/models/base.py": "from seqgen.core import errors\\nfrom seqgen.models import rnn_generator",
        "seqgen/models/rnn_generator.py": "from .base import Generator",
        "seqgen/report/page.py": "def f():\\n    from seqgen.models.base import Generator",
        "seqgen/image/data/files.py": "import seqgen.core.errors",
        "seqgen/image/models/gan.py": "from seqgen.image.data.files import x",
        "cli/main.py": "from seqgen import api\\nfrom seqgen.report import page",
        "corpora/grammar.py": "from seqgen.core.errors import UserError",
    }
    for name, source in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source.replace("\\n", "\n"))
    return tmp_path


def test_a_tree_in_order_has_no_wrong_import(tree):
    assert wrong_imports(tree) == []


@pytest.mark.parametrize(
    ("name", "source", "imported"),
    [
        ("seqgen.core.errors", "from seqgen.models import base", "seqgen.models.base"),
        ("seqgen.core.errors", "from ..models.base import x", "seqgen.models.base"),
        ("seqgen.core.errors", "from seqgen import api", "seqgen.api"),
        ("seqgen.models.base", "def f():\n    import seqgen.report.page", "seqgen.report.page"),
        ("seqgen.report.page", "from seqgen.cli.main import app", "seqgen.cli.main"),
        ("seqgen.report.page", "from seqgen.models import rnn_generator", "seqgen.models.rnn_generator"),
        ("seqgen.corpora.grammar", "from seqgen.models.base import x", "seqgen.models.base"),
        ("seqgen.api", "from seqgen.cli import main", "seqgen.cli.main"),
        ("seqgen.image.data.files", "from seqgen.image.models.gan import x", "seqgen.image.models.gan"),
    ],
)
def test_an_import_turned_round_is_found(tree, name, source, imported):
    modules(tree)[name].write_text(source)
    assert wrong_imports(tree) == [f"{name} → {imported}"]
