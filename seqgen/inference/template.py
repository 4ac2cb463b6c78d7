"""A sentence with blanks, as a user writes it: `a man _ on a _ .`"""

from seqgen.core.errors import UserError
from seqgen.data.tokenizer import UNK, Tokenizer
from seqgen.data.tokenizer_pipelines import SPACE

BLANK = "_"
"""What stands for one token that is left out."""


def encode(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the token ids of a text, UNK at its blanks, without BOS and EOS.

    A blank is one token: of words, spaces and punctuation stay as they are written around it. Of subwords, it
    is a word between spaces.

    Raises:
        UserError: there is no blank, a word that the model has never seen, or a subword beside a blank.
    """
    if tokenizer.kind in ("bpe", "byte"):
        ids = [id for word in text.split() for id in ([UNK] if word == BLANK else tokenizer.encode(word))]
    else:
        ids = tokenizer.encode(text)
        entries = tokenizer.tokens(ids)
        ids = [UNK if entry.lstrip(SPACE) == BLANK else id for id, entry in zip(ids, entries, strict=True)]
    blanks = text.count(BLANK)
    if not blanks:
        raise UserError(f"'{text}' has no blank to fill; write {BLANK} for each token that is left out")
    if ids.count(UNK) != blanks:
        unseen = [word for word in text.split() if UNK in tokenizer.encode(word.replace(BLANK, ""))]
        if not unseen:
            raise UserError(f"'{text}' has a {BLANK} that touches a word; put a space on each side of it")
        names = ", ".join(f"'{word}'" for word in unseen)
        raise UserError(f"the model has never seen {names}; write {BLANK} instead, or another word")
    return ids
