import torch
from distributed_trials import samples, together
from helpers import build

from seqgen.generation.contrastive_search import ContrastiveSearch
from seqgen.inference import shared_draw


def test_samples_drawn_together_are_those_of_one_process(tmp_path):
    found, alone = together(tmp_path, samples), samples()
    for of_rank in (each["samples"] for each in found):
        assert of_rank.keys() == alone.keys()
        for name, (first, second, *after) in alone.items():
            mine, theirs, *numbers = of_rank[name]
            torch.testing.assert_close(mine, first, rtol=1e-5, atol=1e-5, msg=name)
            torch.testing.assert_close(theirs, second, rtol=1e-5, atol=1e-5, msg=name)
            assert all(map(torch.equal, numbers, after)), name


def test_what_is_chosen_among_candidates_or_searched_is_not_divided():
    assert shared_draw.is_by_rows(build("mle"), {"search": None, "temperature": 0.7})
    assert not shared_draw.is_by_rows(build("mle"), {"search": ContrastiveSearch()})
    assert not shared_draw.is_by_rows(build("residual"), {})
