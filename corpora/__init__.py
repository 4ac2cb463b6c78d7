"""The built-in corpora, weighted grammars whose exact distribution is known, and recipes of public corpora.

Installs as `seqgen.corpora` and imports `core` only. Start with `grammar` (the notation of the `.cfg` files),
then `automaton` (exact probabilities and entropy), `arithmetic` (the answers of one grammar), `recipes` and
`download` (public corpora), `stats`.
"""

from importlib.resources import files

from seqgen.core.errors import UserError, did_you_mean
from seqgen.corpora.grammar import Grammar, parse_grammar

__all__ = ["Grammar", "card", "load", "names", "summary"]


def names() -> list[str]:
    """List the built-in corpora, sorted."""
    found = (entry.name for entry in files(__name__).iterdir())
    return sorted(name.removesuffix(".cfg") for name in found if name.endswith(".cfg"))


def load(name: str) -> Grammar:
    """Read a built-in grammar; raise UserError with the nearest name if there is none of that name."""
    return parse_grammar(name, _read(name, "cfg"))


def card(name: str) -> str:
    """Read the card of a built-in corpus, in Markdown; raise UserError if there is none of that name."""
    return _read(name, "md")


def summary(name: str) -> str:
    """Return the first line below the title of a card."""
    return next(line for line in card(name).splitlines() if line and not line.startswith("#"))


def _read(name: str, kind: str) -> str:
    if name not in names():
        raise UserError(f"no built-in corpus '{name}'{did_you_mean(name, names())}")
    return files(__name__).joinpath(f"{name}.{kind}").read_text(encoding="utf-8")
