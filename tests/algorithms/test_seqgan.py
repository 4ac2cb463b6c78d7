"""SeqGAN's control with shuffled labels."""

import torch
from helpers import build, sentences

from seqgen.algorithms.seqgan import shuffled
from seqgen.data.tokenizer import PAD
from seqgen.functional.gan_losses import gan_loss


def test_shuffled_labels_keep_the_sentences_and_the_numbers_of_both_kinds():
    torch.manual_seed(0)
    real, fake = sentences(7, 5, seed=1), sentences(11, 3, seed=2)
    one, other = shuffled(real, fake)
    assert (one.shape, other.shape) == ((7, 5), (11, 5))
    widened = torch.cat((real, torch.nn.functional.pad(fake, (0, 2), value=PAD)))
    both = torch.cat((one, other))
    assert sorted(both.tolist()) == sorted(widened.tolist())
    assert not torch.equal(both, widened)


def test_only_the_control_trains_its_discriminator_on_them():
    real, fake = sentences(6, seed=1), sentences(6, seed=2)
    losses = {}
    for reward in ("discriminator", "shuffled_labels"):
        algorithm = build("seqgan", {"reward": reward})
        algorithm.discriminator.eval()
        torch.manual_seed(3)
        losses[reward] = float(algorithm.discriminator_loss(real, fake)[0].detach())
        torch.manual_seed(3)
        given = (real, fake) if reward == "discriminator" else shuffled(real, fake)
        expected = gan_loss("cross_entropy")
        with torch.no_grad():
            logits = [algorithm.discriminator(part) for part in given]
        assert losses[reward] == float(expected.discriminator(*logits))
    assert losses["discriminator"] != losses["shuffled_labels"]
