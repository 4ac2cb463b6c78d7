"""What users get wrong in commands: one line, exit code 2, nothing written."""

import pytest
from helpers import one_line, write_lines

from seqgen.training import setup


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["pretrain", "--corpus", "absent.txt"], "absent.txt"),
        (["pretrain", "--corpus", "scens"], "did you mean 'scenes'"),
        (["pretrain", "--corpus", "empty.txt"], "holds no sentence"),
        (["pretrain", "--corpus", "latin.txt"], "is not UTF-8: line 2"),
        (["pretrain", "--corpus", "binary.txt"], "NUL byte"),
        (["pretrain", "gan"], "no algorithm 'gan'"),
        (["pretrain", "seqgan"], "give 'seqgen adversarial seqgan'"),
        (["pretrain", "--set", "hiden=3"], "no setting 'hiden'; did you mean 'hidden'"),
        (["pretrain", "--set", "dropout=2"], "out of range"),
        (["pretrain", "--set", "hidden"], "--set takes key=value"),
        (["pretrain", "--config", "absent.toml"], "cannot read the settings file"),
        (["pretrain", "--tokenizer", "wrod"], "did you mean 'word'"),
        (["pretrain", "--device", "gpu"], "no device 'gpu'; allowed: auto, cpu, cuda"),
        (["pretrain", "--threads", "0"], "--threads 0"),
        (["pretrain", "--steps", "0"], "--steps 0: it should be greater than or equal to 1. See"),
        (["pretrain", "--steps", "5", "--epochs", "2"], "--steps 5 and --epochs 2 both say how long"),
        (["pretrain", "--run", ""], "--run is empty; name a path, or leave it out"),
        (["sample", "--run="], "--run is empty"),
        (["sample", "--run", "latin.txt"], "'latin.txt' is a file, and a run is a folder"),
        (
            ["pretrain", "--corpus", "few.txt", "--run", "latin.txt"],
            "'latin.txt' is a file, and --run names a",
        ),
        (["pretrain", "--corpus", ".", "--run", "runs/r"], "the run folder 'runs/r' is in the folder '.' of"),
        (
            ["pretrain", "--corpus", "few.txt", "--run", "foreign"],
            "'foreign' holds a config.json that is not a",
        ),
        (
            ["pretrain", "--corpus", "few.txt", "--run", "other"],
            "'other' holds a metrics.jsonl that is not a",
        ),
        (["pretrain", "--corpus", "few.txt", "--min-count", "9"], "no token is in the corpus 9 times; lower"),
        (["corpora", "fetch", "scenes"], "'scenes' is built in and needs no download: give --corpus scenes"),
        (["evaluate", "--column", "x"], "--column x says how a file of --hyp, --ref or --train is read"),
        (["pretrain", "--hepochs", "3"], "No such option"),
        (["pretrain", "--minutes", "0"], "--minutes 0: give a number above 0 and at most 525,600"),
        (["pretrain", "--minutes", "nan"], "--minutes nan: give a number above 0"),
        (["pretrain", "--minutes", "2", "--steps", "5"], "--minutes 2 and --steps 5 both say how long"),
        (["pretrain", "--minutes", "2", "--epochs", "3"], "--minutes 2 and --epochs 3 both say how long"),
        (["adversarial", "--minutes", "2", "--steps", "5"], "--minutes 2 and --steps 5 both say how long"),
        (["adversarial", "--minutes", "2", "--set", "steps=5"], "--minutes 2 and --set steps=5 both say"),
        (["pretrian"], "No such command 'pretrian'"),
        (["adversarial"], "run 'seqgen pretrain mle' first"),
        (["adversarial", "--init", "absent"], "no run at 'absent'"),
        (["sample"], "run 'seqgen pretrain' first"),
        (["sample", "--run", "."], "not a run folder"),
        (["sample", "--format", "xml"], "no format 'xml'"),
        (["sample", "--top-p", "1.5"], "--top-p 1.5"),
        (["sample", "--temperature", "-1"], "--temperature -1: it should be greater than or equal to 0"),
        (["sample", "--temperature=nan"], "--temperature=nan: it should be greater than or equal to 0"),
        (["sample", "--penalty", "0.5"], "--penalty 0.5 is for a search; add --search contrastive"),
        (["sample", "--search", "contrastiv"], "no search 'contrastiv'; did you mean 'contrastive'"),
        (["sample", "--search", "contrastive", "--penalty", "2"], "--penalty 2: it should be"),
        (["evaluate"], "run 'seqgen pretrain' first"),
    ],
)
def test_user_errors_are_one_line_and_exit_code_2(cli, tmp_path, args, message):
    (tmp_path / "empty.txt").write_text("\n \n")
    (tmp_path / "latin.txt").write_bytes("one\nça va\n".encode("latin-1"))
    (tmp_path / "binary.txt").write_bytes(b"\x00\x01\x02")
    write_lines(tmp_path / "few.txt", ["a cat sat", "a dog ran"])
    for folder, name in (("foreign", "config.json"), ("other", "metrics.jsonl")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text('{"mine": 1}')
    code, out, err = cli(*args)
    assert (code, out) == (2, "")
    assert one_line(err), err
    assert message in err
    assert not (tmp_path / "runs").exists()
    assert (tmp_path / "foreign/config.json").read_text() == '{"mine": 1}'


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        (
            "[enforce fail] can't allocate memory: you tried to allocate 409600000000 bytes. Error",
            "no 409.6 GB",
        ),
        (
            "CUDA out of memory. Tried to allocate 2 GiB.\nmore",
            "CUDA out of memory. Tried to allocate 2 GiB. Use",
        ),
        ("", "out of memory. Use a smaller batch"),
    ],
)
def test_too_little_memory_is_one_line(cli, monkeypatch, reason, message):
    def fail(*given, **options):
        raise MemoryError(reason)

    monkeypatch.setattr(setup, "pretrain_job", fail)
    code, _, err = cli("pretrain")
    assert code == 2
    assert one_line(err), err
    assert message in err
