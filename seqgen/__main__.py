"""`python -m seqgen`: the command `seqgen`, also from the root of a checkout that is not installed.

Installing maps the folders `cli/` and `corpora/` of the repository to `seqgen.cli` and `seqgen.corpora`.
Python puts the current folder first, so in the root of the repository it finds the bare `seqgen/`, which
holds neither, before any installed package. They are then taken from beside it, so that all code is of one
version.
"""

import importlib.util
import sys
from pathlib import Path

MAPPED = ("cli", "corpora")
"""Folders of the repository that install as subpackages (`tool.setuptools.package-dir` in pyproject.toml)."""


def map_packages(root: Path) -> None:
    """Import each package of `MAPPED` that Python does not find from the folder of its name in `root`."""
    for folder in MAPPED:
        name = f"seqgen.{folder}"
        init = root / folder / "__init__.py"
        if importlib.util.find_spec(name) is not None or not init.is_file():
            continue
        spec = importlib.util.spec_from_file_location(
            name, init, submodule_search_locations=[str(init.parent)]
        )
        if spec is None or spec.loader is None:
            raise ImportError(f"cannot import '{name}' from '{init}'", name=name, path=str(init))
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)


if __name__ == "__main__":
    map_packages(Path(__file__).resolve().parents[1])
    if importlib.util.find_spec("seqgen.cli") is None:
        sys.exit(f"seqgen: no command line in '{Path(__file__).parent}'; run it from another folder")
    from seqgen.cli.main import main

    main()
