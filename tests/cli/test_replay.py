"""`seqgen replay`."""

from helpers import coin_corpus

from seqgen.training import run_folder

SMALL = ("--set", "generator.embedding=5", "--set", "generator.hidden=7", "--set", "batch_size=8")


def test_a_run_and_its_configuration_are_replayed(cli, tmp_path):
    corpus = coin_corpus(tmp_path / "coins.txt")
    assert cli("pretrain", "--corpus", corpus, *SMALL, "--steps", 3, "--run", "runs/a", "--quiet")[0] == 0
    code, _, err = cli("replay", "runs/a")
    assert code == 0, err
    assert "run: runs/a-again (mle, 3 steps" in err
    assert "next: seqgen report --run runs/a-again" in err
    code, _, err = cli("replay", "runs/a/config.json", "--run", "runs/b", "--quiet")
    assert (code, err) == (0, "")
    weights = [(tmp_path / "runs" / name / run_folder.WEIGHTS).read_bytes() for name in ("a", "a-again", "b")]
    assert len(set(weights)) == 1
    code, _, err = cli("replay", "runs/a", "--run", "runs/b")  # done already
    assert code == 0, err
    code, _, err = cli("replay", "runs/nothing")
    assert code == 2
    assert err.startswith("seqgen: no run at 'runs/nothing'")


def test_one_on_images_is_replayed(cli, tmp_path):
    options = ("--set", "net.hidden=11", "--set", "latent_dim=3", "--quiet")
    assert cli("image", "train", "vae", *options, "--steps", 2, "--run", "runs/i")[0] == 0
    code, _, err = cli("replay", "runs/i", "--quiet")
    assert (code, err) == (0, "")
    weights = [(tmp_path / "runs" / name / run_folder.WEIGHTS).read_bytes() for name in ("i", "i-again")]
    assert weights[0] == weights[1]
