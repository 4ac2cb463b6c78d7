"""The same seed gives the same bytes: in other processes, with other hash seeds, beside another training."""

import os
import subprocess
import sys
import threading

from helpers import coin_corpus

import seqgen

SMALL = {"generator.embedding": 5, "generator.hidden": 7, "batch_size": 8, "report_every": 5}
GAME = {"rollouts": 2, "batch_size": 4, "report_every": 2, "discriminator_pretraining_steps": 1}
COMMANDS = f"""
import sys, torch, seqgen
from seqgen.image.runs.setup import train
torch.set_num_threads(1)
folder = sys.argv[1]
run = seqgen.pretrain("coins.txt", run=folder + "/mle", steps=10, values={SMALL}, device="cpu")
seqgen.adversarial(run, "seqgan", run=folder + "/gan", steps=3, values={GAME}, device="cpu")
train("vae", run=folder + "/vae", steps=5, values={{"batch_size": 32, "net.hidden": 11}}, device="cpu")
print([sentence.text for sentence in seqgen.sample(run, 20, seed=3, unique=True)])
"""


def contents(folder):
    """Everything but times: the tokenizer, the weights, the samples of every run."""
    names = ("tokenizer.json", "model.safetensors", "samples/*")
    return {str(path.relative_to(folder)): path.read_bytes() for name in names for path in folder.rglob(name)}


def test_in_processes_of_their_own_whatever_their_hash_seed(tmp_path):
    coin_corpus(tmp_path / "coins.txt")
    printed = {}
    for seed in ("0", "1", "4294967295"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "SEQGEN_CACHE": str(tmp_path / f"cache-{seed}")}
        command = [sys.executable, "-c", COMMANDS, seed]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        printed[seed] = done.stdout
    assert len(set(printed.values())) == 1
    first, *others = (contents(tmp_path / seed) for seed in printed)
    assert len(first) > 10
    assert others == [first, first]


def test_in_two_threads_of_one_process(tmp_path):
    corpus = coin_corpus(tmp_path / "coins.txt")

    def train(name, seed):
        values = SMALL | {"generator.dropout": 0.3}
        how = {"device": "cpu", "seed": seed, "values": values}
        run = seqgen.pretrain(corpus, run=tmp_path / name / str(seed), steps=40, **how)
        seqgen.adversarial(
            run, "seqgan", run=tmp_path / name / f"gan-{seed}", steps=3, values=GAME, device="cpu"
        )
        list(seqgen.sample(run, 20))

    failed = []

    def watched(seed):
        try:
            train("beside", seed)
        except BaseException as error:
            failed.append(error)
            raise

    for seed in (3, 5):
        train("alone", seed)
    threads = [threading.Thread(target=watched, args=(seed,)) for seed in (3, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert contents(tmp_path / "beside") == contents(tmp_path / "alone")
    assert contents(tmp_path / "alone/3") != contents(tmp_path / "alone/5")
