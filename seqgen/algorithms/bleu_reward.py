"""BLEU of sampled sentences against a text that is counted once, as a reward on any device.

The scores are those of `seqgen.metrics.bleu` for one order, over token ids; EOS is no word. N-grams are
numbered as in `seqgen.ngrams.count_tables`: a token id is its own number, and the n-grams of two and more
tokens follow in the order of one sorted tensor of keys, `number of all but the last token · V + last token`.
Number 0, PAD, stands for what the text does not hold.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seqgen.data.token_ids import Ids
from seqgen.data.tokenizer import EOS, PAD
from seqgen.metrics.bleu import EPSILON, closest_lengths
from seqgen.ngrams.ngrams import Ints


class BLEUReward(nn.Module):
    """The n-grams of a text, and the BLEU-`order` of other sentences against all of its sentences.

    What is counted is kept with the weights.
    """

    keys: Tensor
    """Of the G n-grams of two words and more, ascending; int64 (G,)."""
    most: Tensor
    """The largest count of each n-gram, V token ids first, in one sentence of the text; int64 (V + G,)."""
    closest: Tensor
    """The length of the sentence of the text that is closest to 0, 1, … words; int64 (length + 1,)."""

    def __init__(self, vocab_size: int, length: int, order: int) -> None:
        super().__init__()
        self.vocab_size, self.order = vocab_size, order
        self.register_buffer("keys", torch.zeros(0, dtype=torch.long))
        self.register_buffer("most", torch.zeros(0, dtype=torch.long))
        self.register_buffer("closest", torch.zeros(length + 1, dtype=torch.long))

    def count(self, text: Ids) -> None:
        """Count the n-grams of a text's sentences."""
        tokens = np.asarray(text.tokens, np.int64)
        is_word = tokens != EOS
        words, sentence = tokens[is_word], np.repeat(np.arange(len(text)), text.lengths())[is_word]
        keys, most = [], [_most(words, sentence, self.vocab_size)]
        numbers, size = words, self.vocab_size  # the n-gram that ends at each word, -1: none; n-grams so far
        for _ in range(1, self.order):
            goes_on = np.flatnonzero((sentence[1:] == sentence[:-1]) & (numbers[:-1] >= 0)) + 1
            longer = numbers[goes_on - 1] * self.vocab_size + words[goes_on]
            found, which = np.unique(longer, return_inverse=True)
            keys.append(found)
            most.append(_most(which, sentence[goes_on], len(found)))
            numbers = np.full(len(words), -1)
            numbers[goes_on] = which + size
            size += len(found)
        # One key more, which no n-gram has, so that there always is one.
        self.keys = torch.from_numpy(np.append(np.concatenate(keys), size * self.vocab_size))
        self.most = torch.from_numpy(np.append(np.concatenate(most), 0))
        lengths = np.bincount(sentence, minlength=len(text))
        self.closest = torch.from_numpy(closest_lengths(np.arange(len(self.closest)), lengths))

    def forward(self, tokens: Tensor) -> Tensor:
        """Score sentences of token ids, EOS and PAD after the words; (R, T) → (R,) in [0, 1], float32."""
        words = tokens.masked_fill(tokens == EOS, PAD)
        length = (words != PAD).sum(dim=1)
        numbers, log_precision = words, torch.zeros(len(words), device=words.device)
        for n in range(1, self.order + 1):
            numbers = self._longer(numbers, words) if n > 1 else words
            possible = (length - n + 1).clamp(min=1)
            precision = self._matches(numbers).float().clamp(min=EPSILON) / possible
            log_precision += precision.log() / self.order
        closest = self.closest[length]
        brevity = (1 - closest / length.clamp(min=1)).clamp(max=0)
        is_known = (self.most[words] > 0).any(dim=1)
        return (log_precision + brevity).exp().where(is_known, 0)

    def _longer(self, numbers: Tensor, words: Tensor) -> Tensor:
        """Return the numbers of the n-grams a word longer that end at each word; both (R, T) → (R, T)."""
        keys = F.pad(numbers[:, :-1], (1, 0), value=PAD) * self.vocab_size + words
        places = torch.searchsorted(self.keys, keys).clamp(max=len(self.keys) - 1)
        return (places + self.vocab_size).where(self.keys[places] == keys, PAD)

    def _matches(self, numbers: Tensor) -> Tensor:
        """Count a sentence's n-grams, each as often as one sentence of the text has it; (R, T) → (R,)."""
        before = (numbers[:, :, None] == numbers[:, None, :]).tril(-1).sum(dim=2)
        return (before < self.most[numbers]).sum(dim=1)

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: Any, *more: Any
    ) -> None:
        """Take counts of any size."""
        for name in ("keys", "most"):
            if prefix + name in state_dict:
                setattr(self, name, getattr(self, name).new_empty(state_dict[prefix + name].shape))
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *more)


def _most(numbers: Ints, sentence: Ints, size: int) -> Ints:
    """Return the largest count of each number in one sentence; numbers (P,), sentence (P,) → (size,)."""
    base = int(sentence.max(initial=0)) + 1
    pairs, counts = np.unique(numbers * base + sentence, return_counts=True)
    most = np.zeros(size, np.int64)
    np.maximum.at(most, pairs // base, counts)
    return most
