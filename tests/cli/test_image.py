"""The image commands through the command line: files, what goes where, and every user error."""

import csv
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

SMALL = ["--device", "cpu", "--quiet", "--set", "batch_size=32", "--steps"]
TINY = ["--set", "net.hidden=11"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with runs of four kinds, hardly trained."""
    from seqgen.image.runs import setup

    folder = tmp_path_factory.mktemp("trained") / "runs"
    small = {"batch_size": 32, "net.hidden": 11}
    gan = {"batch_size": 32, "generator.channels": 3, "critic.channels": 3}
    kinds = {
        "plane": ("vae", small | {"latent_dim": 2}, {}),
        "labels": ("vae", small | {"latent_dim": 3, "conditional": True}, {"without": 3}),
        "clean": ("denoising-autoencoder", small | {"latent_dim": 3}, {}),
        "gan": ("gan", gan, {}),
    }
    for name, (model, values, options) in kinds.items():
        setup.train(model, run=folder / name, steps=3, values=values, device="cpu", **options)
    return folder


def picture(path):
    with Image.open(path) as opened:
        return np.asarray(opened)


def test_the_whole_path(cli, tmp_path):
    command = ("image", "train", *SMALL, 4, *TINY, "--set", "latent_dim=2")
    assert cli(*command) == (0, "", "")
    run = tmp_path / "runs/image-vae-digits"
    assert {path.name for path in run.iterdir()} >= {
        "config.json",
        "metrics.jsonl",
        "model.safetensors",
        "samples",
        "state.pt",
    }
    assert {path.name for path in (run / "samples").iterdir()} >= {"sheet.png", "step-0000000.png"}
    code, _, err = cli(*(word for word in command if word != "--quiet"))
    assert code == 0
    assert "done: 4 steps" in err
    assert "seqgen image sample --run runs/image-vae-digits" in err
    for name in ("sample", "reconstruct", "interpolate", "latent"):
        code, out, err = cli("image", name)
        drawn = "manifold" if name == "latent" else name
        assert (code, out) == (0, f"runs/image-vae-digits/{drawn}.png\n")
        assert err == "run: runs/image-vae-digits (vae on digits)\n"
        assert picture(run / f"{drawn}.png").std() > 0
    side = 8 * 8 * 8 + 7 * 8  # eight images of eight pixels, each pixel eight wide, one between images
    assert picture(run / "sample.png").shape == (side, side)


def test_the_latest_run_is_the_latest_on_images(cli, runs, monkeypatch, tmp_path):
    monkeypatch.chdir(runs.parent)
    (runs / "text").mkdir(exist_ok=True)
    (runs / "text/config.json").write_text(json.dumps({"format": 1, "algorithm": "mle", "verb": "pretrain"}))
    (runs / "text/metrics.jsonl").write_text("")
    (runs / "latest").unlink()
    (runs / "latest").symlink_to("text")
    code, _, err = cli("image", "sample", "--n", 1, "--out", tmp_path / "s.png")
    assert code == 0
    assert err == "run: runs/gan (gan on digits)\n"
    (runs / "latest").unlink()
    (runs / "latest").symlink_to("plane")
    assert cli("image", "sample", "--n", 1, "--out", tmp_path / "s.png")[2].startswith("run: runs/plane")


@pytest.mark.parametrize(
    ("run", "args"),
    [
        ("plane", ["sample", "--n", 5, "--columns", 3]),
        ("labels", ["sample", "--n", 5, "--label", 7]),
        ("clean", ["sample", "--n", 5]),
        ("gan", ["sample", "--n", 5]),
        ("labels", ["reconstruct", "--n", 7]),
        ("clean", ["reconstruct", "--n", 13]),
        ("plane", ["interpolate", "--rows", 3, "--points", 4]),
        ("labels", ["interpolate", "--rows", 3, "--points", 4]),
        ("gan", ["interpolate", "--rows", 3, "--points", 4]),
        ("plane", ["latent", "--side", 3]),
        ("plane", ["latent", "--view", "pca", "--n", 31]),
        ("labels", ["latent", "--n", 31]),
        ("plane", ["traverse", "--points", 4]),
        ("labels", ["traverse", "--dimensions", 2]),
        ("clean", ["traverse"]),
        ("gan", ["traverse", "--dimensions", 3]),
        ("plane", ["activations"]),
        ("labels", ["activations", "--n", 1]),
        ("clean", ["denoise", "--n", 7]),
        ("plane", ["denoise", "--n", 7, "--noise", 0.5]),
    ],
)
def test_every_picture_of_every_kind(cli, runs, tmp_path, run, args):
    command, *options = args
    for name in ("a.png", "b.png"):
        result = cli("image", command, "--run", runs / run, "--quiet", "--out", name, *options)
        assert result == (0, f"{name}\n", "")
    assert picture(tmp_path / "a.png").std() > 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_samples_as_files_are_data_again(cli, runs, tmp_path):
    for label, folder in ((4, "digits-files/3"), (8, "digits-files/8")):
        args = ("--label", label, "--n", 21, "--out", folder, "--quiet")
        assert cli("image", "sample", "--run", runs / "labels", *args) == (0, f"{folder}\n", "")
    assert cli("image", "train", "autoencoder", "--data", "digits-files", *SMALL, 2, *TINY)[0] == 0
    assert (
        json.loads((tmp_path / "runs/image-autoencoder-digits-files/config.json").read_text())["classes"] == 2
    )
    code, out, err = cli("image", "anomaly", "--run", runs / "labels", "--data", "digits-files")
    assert code == 0
    rows = list(csv.reader(io.StringIO(out)))
    assert rows[0] == ["image", "label", "score"]
    assert [row[:2] for row in rows[1:3]] == [
        ["digits-files/3/000000.png", "3"],
        ["digits-files/3/000001.png", "3"],
    ]
    assert len(rows) == 43
    assert "AUROC of '3': 0." in err


def test_scores_go_to_stdout_and_the_area_to_stderr(cli, runs):
    code, out, err = cli("image", "anomaly", "--run", runs / "labels", "--format", "jsonl")
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows[0].keys() == {"image", "label", "score"}
    assert {row["label"] for row in rows} == set("0123456789")
    assert err.splitlines()[-1].startswith("AUROC of '3': 0.")
    code, out, err = cli("image", "anomaly", "--run", runs / "plane", "--out", "s.csv")
    assert (code, out) == (0, "")
    assert "AUROC" not in err  # no label is known to be anomalous
    code, _, err = cli("image", "anomaly", "--run", runs / "gan", "--anomalous", 8, "--out", "s.csv")
    assert code == 0
    assert "AUROC of '8'" in err


class Corner(torch.nn.Module):
    """Vectors of images: the first pixels of their rows."""

    def forward(self, pixels):
        return pixels[:, 0, :, 0].float()


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_evaluate(cli, runs, tmp_path):
    torch.jit.script(Corner()).save(tmp_path / "corner.pt")
    args = ("image", "evaluate", "--run", runs / "plane", "--n", 50, "--importance", 3, "--images", 5)
    code, out, err = cli(*args, "--features", "corner.pt")
    assert (code, out) == (2, "")
    assert "give the same command with --trust" in err
    args += ("--features", "corner.pt", "--trust")
    code, out, err = cli(*args)
    assert code == 0
    assert "of 5 test images" in out
    assert "importance sampling, 3 draws" in out
    assert "N 50" in out
    assert "drawing 50 samples" in err
    report = json.loads(cli(*args, "--annealed", 2, "--json", "--quiet")[1])
    assert report["annealed"]["images"] == 2
    assert report["protocol"]["features"] == "vectors of corner.pt"


def test_pictures_of_any_size_are_trained_on_with_a_size(cli, tmp_path):
    for i in range(9):
        (tmp_path / f"data/{i % 2}").mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (9 + i, 21, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"data/{i % 2}/{i}.jpg")
    code, _, err = cli("image", "train", "--data", "data", *SMALL, 2, *TINY)
    assert (code, one_line(err)) == (2, True)
    assert "give --size N, as in --size 64" in err
    assert cli("image", "train", "--data", "data", "--size", 11, *SMALL, 2, *TINY) == (0, "", "")
    assert json.loads((tmp_path / "runs/image-vae-data/config.json").read_text())["shape"] == [3, 11, 11]
    assert cli("image", "reconstruct", "--n", 1, "--quiet")[0] == 0
    assert picture(tmp_path / "runs/image-vae-data/reconstruct.png").ndim == 3
    for args in (("left-out", "--steps", 1), ("augment", "--labels", 4, "--steps", 1)):
        code, _, err = cli("image", *args, "--data", "data", "--background", "red")
        assert (code, one_line(err)) == (2, True)
        assert "no background 'red'" in err


def test_few_labels(cli, runs):
    args = ("image", "few-labels", "--run", runs / "plane", "--labels", "20", "--draws", 1)
    code, out, err = cli(*args)
    assert code == 0
    assert out.splitlines()[0].startswith("labels")
    assert len(out.splitlines()) == 7
    assert "20 labels, latents, logistic: " in err
    accuracies = json.loads(cli(*args, "--json", "--quiet")[1])["accuracies"]
    assert [row["input"] for row in accuracies] == ["pixels"] * 3 + ["latents"] * 3
    assert accuracies[0].keys() == {
        "labels",
        "input",
        "classifier",
        "accuracies",
        "mean",
        "standard_deviation",
    }


def test_augment(cli, monkeypatch):
    from seqgen.image.applications import augmentation

    monkeypatch.setattr(augmentation, "STEPS", 2)
    args = ("--labels", "20", "--draws", 1, "--steps", 2, *TINY, "--device", "cpu")
    code, out, err = cli("image", "augment", *args)
    assert code == 0
    assert [line.split("  ")[2] for line in out.splitlines()[1:]] != []
    assert len(out.splitlines()) == 5
    assert "20 labels, draw 1 of 1: images " in err
    assert len(json.loads(cli("image", "augment", *args, "--json", "--quiet")[1])["accuracies"]) == 4


def test_left_out(cli, tmp_path):
    args = ("image", "left-out", "--steps", 1, *TINY, "--set", "latent_dim=3", "--device", "cpu")
    code, out, err = cli(*args)
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["label", *"0123456789", "mean"]
    assert "without 9: AUROC 0." in err
    report = json.loads(cli(*args, "--json", "--quiet")[1])
    assert [row["label"] for row in report["labels"]] == list("0123456789")
    assert report["mean"].keys() == {"model", "pca", "nearest"}
    assert (tmp_path / "runs/left-out-vae-digits/without-4/model.safetensors").exists()


def test_left_out_says_that_it_was_interrupted(cli, monkeypatch):
    from seqgen.image.applications import anomaly
    from seqgen.training.loop import Interrupted

    def stopped(*args, **options):
        raise Interrupted(486, 15)
        yield

    monkeypatch.setattr(anomaly, "left_out", stopped)
    expected = "interrupted and saved at step 486; the same command resumes\n"
    assert cli("image", "left-out") == (143, "", expected)


def test_settings_are_listed(cli):
    code, out, _ = cli("image", "train", "gan", "--settings")
    assert code == 0
    assert "critic_steps=null" in out
    code, out, _ = cli("image", "train", "denoising-autoencoder", "--settings")
    assert (code, "latent_dim=64 " in out, "noise_std=0.3 " in out) == (0, True, True)


def test_a_run_of_foreign_code_needs_trust(cli, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    code = "from seqgen.image.models.vae import VAE\n\n\nclass Mine(VAE):\n    pass\n"
    (tmp_path / "foreign_cli.py").write_text(code)
    assert cli("image", "train", "foreign_cli:Mine", *SMALL, 2, *TINY) == (0, "", "")
    code, _, err = cli("image", "sample", "--n", 1, "--quiet")
    assert code == 2
    assert one_line(err)
    assert "'foreign_cli:Mine', which loading the run would execute" in err
    assert cli("image", "sample", "--n", 1, "--quiet", "--trust") == (
        0,
        "runs/image-Mine-digits/sample.png\n",
        "",
    )


def one_line(err):
    return err.startswith("seqgen: ") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["train", "vea"], "'vea'; did you mean 'vae'"),
        (["train", "--data", "absent"], "no images at 'absent'"),
        (["train", "--data", "."], "holds no images"),
        (["train", "--without", "12"], "no label '12'; the labels are 0, 1, 2"),
        (["train", "--binarise", "dynamc"], "did you mean 'dynamic'"),
        (["train", "--set", "latent_dm=3"], "no setting 'latent_dm'; did you mean 'latent_dim'"),
        (["sample"], "run 'seqgen image train' first"),
        (["sample", "--run", "absent"], "no run at 'absent'"),
        (["reconstruct", "--run", "."], "not a run folder"),
        (["latent", "--view", "manfold"], "no view 'manfold'; did you mean 'manifold'"),
        (["anomaly", "--format", "xml"], "no format 'xml'"),
        (["few-labels", "--labels", "ten"], "--labels 'ten': whole numbers separated by commas"),
        (["augment", "--labels", "7", "--quiet"], "7 labels cannot be divided among 10 classes"),
        (["augment", "gam"], "did you mean 'gan'"),
        (["augment", "--set", "epochs=3", "--quiet"], "augment sets epochs itself"),
        (["train", "--set", "sigma=0.1"], "sigma=0.1 is of the Gaussian likelihood, not of bernoulli"),
        (["train", "gan", "--set", "generator.normalise=batch", "--set", "batch_size=1"], "batch_size=1"),
        (["train", "--data", ""], "no images at ''"),
        (["left-out", "gam"], "did you mean 'gan'"),
        (["smaple"], "No such command 'smaple'"),
    ],
)
def test_user_errors_are_one_line_and_exit_code_2(cli, tmp_path, args, message):
    code, out, err = cli("image", *args)
    assert (code, out) == (2, "")
    assert one_line(err), err
    assert message in err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["sample", "--run", "plane", "--label", "3"], "is not conditional; drop --label"),
        (["sample", "--run", "labels", "--label", "10"], "no label '10'; the labels are 0, 1, 2"),
        (["reconstruct", "--run", "gan"], "is a gan, which has no encoder"),
        (["reconstruct", "--run", "plane", "--out", "x.jpg"], "--out 'x.jpg' does not end in .png"),
        (
            ["sample", "--run", "plane", "--out", "x.jpg"],
            "is neither a .png file",
        ),
        (["sample", "--run", "labels", "--label", "3"], "was trained without label 3"),
        (["sample", "--run", "plane", "--seed", "-1"], "--seed -1: it should be"),
        (["denoise", "--run", "clean", "--noise", "inf"], "--noise inf is not a standard deviation"),
        (["latent", "--run", "plane", "--view", "pca", "--label", "3"], "--label goes with --view manifold"),
        (["few-labels", "--run", "labels"], "is conditional: its encoder gets the labels"),
        (["evaluate", "--run", "gan", "--annealed", "5", "--n", "31"], "has no likelihood to estimate"),
        (["latent", "--run", "labels", "--view", "manifold"], "has 3 latent dimensions, and a plane has two"),
        (["latent", "--run", "gan"], "is a gan, which has no encoder"),
        (["few-labels", "--run", "gan"], "is a gan, which has no encoder"),
        (["few-labels", "--run", "plane", "--labels", "2000"], "2000 labels are 200 of each class"),
        (["anomaly", "--run", "plane", "--anomalous", "x"], "no image has the label 'x'"),
        (["anomaly", "--run", "plane", "--data", "absent"], "no pictures in 'absent'"),
    ],
)
def test_what_a_run_cannot_do_is_one_line_and_exit_code_2(cli, runs, args, message):
    at = args.index("--run") + 1
    code, out, err = cli("image", *args[:at], runs / args[at], *args[at + 1 :], "--quiet")
    assert (code, out) == (2, "")
    assert one_line(err), err
    assert message in err


def test_a_run_on_text_is_refused(cli, tmp_path):
    (tmp_path / "t").mkdir()
    (tmp_path / "t/config.json").write_text(json.dumps({"format": 1, "algorithm": "mle", "verb": "pretrain"}))
    code, _, err = cli("image", "sample", "--run", "t")
    assert code == 2
    assert one_line(err)
    assert "'t' is a run on text, not on images" in err


def test_a_folder_that_holds_pictures_takes_no_samples(cli, runs, tmp_path):
    args = ("image", "sample", "--run", runs / "plane", "--out", "digits-files", "--quiet")
    assert cli(*args, "--n", 5) == (0, "digits-files\n", "")
    code, _, err = cli(*args, "--n", 3)
    assert code == 2
    assert "'digits-files' holds pictures already" in err
    assert len(list((tmp_path / "digits-files").iterdir())) == 5


def test_all_but_the_normal_images_are_anomalous_and_called_by_a_threshold(cli, runs):
    args = ("image", "anomaly", "--run", runs / "labels", "--normal", 1, "--normal", 4, "--quantile", "0.8")
    code, out, err = cli(*args)
    assert code == 0
    rows = list(csv.reader(io.StringIO(out)))
    assert rows[0] == ["image", "label", "score", "anomalous"]
    assert {row[3] for row in rows[1:]} <= {"true", "false"}
    lines = err.splitlines()[1:]
    assert lines[0].startswith("threshold: ")
    assert lines[1].startswith("AUROC of '0, 2, 3, 5, 6, 7, 8, 9': 0.")
    assert lines[2].startswith("  above the threshold: precision ")
    assert len(lines) == 1 + 2 * 9
    code, out, _ = cli(*args, "--format", "jsonl", "--quiet")
    assert all(isinstance(json.loads(line)["anomalous"], bool) for line in out.splitlines())


def test_labels_are_left_out_and_trained_on_again_and_again(cli, tmp_path):
    def left_out(*args):
        run = tmp_path / "r" / "-".join(map(str, args)).replace("--", "")
        assert cli("image", "train", "--run", run, *SMALL, 1, *TINY, *args) == (0, "", "")
        return json.loads((run / "config.json").read_text())["without"]

    assert left_out("--without", 2, "--without", 7) == [2, 7]
    assert left_out("--only", 3) == [0, 1, 2, 4, 5, 6, 7, 8, 9]
    assert left_out("--only", 3, "--only", 5) == [0, 1, 2, 4, 6, 7, 8, 9]


def test_of_a_small_split_all_that_there_is_is_drawn(cli, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(30):  # 6 for the test, in two labels
        path = tmp_path / "few" / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(path)
    for values in ([], ["--set", "conditional=true"]):
        train = ("image", "train", "--data", "few", "--run", "r" + "c" * len(values), *SMALL, 2, *TINY)
        assert cli(*train, *values)[0] == 0
        run = ("--run", "r" + "c" * len(values))
        for command, what, rows in (("reconstruct", "6 test images", 2), ("denoise", "6 test images", 3)):
            code, _, err = cli("image", command, *run, "--out", tmp_path / "a.png")
            assert code == 0
            assert err.endswith(f"there are {what}: all are drawn\n")
            height, width = picture(tmp_path / "a.png").shape
            assert height == rows * 64 + (rows - 1) * 8
            assert width > 6 * 64
        code, _, err = cli("image", "interpolate", *run, "--out", tmp_path / "a.png")
        assert code == 0
        assert "pairs of test images: all are drawn" in err
        assert cli("image", "activations", *run, "--n", 9, "--quiet", "--out", tmp_path / "a.png")[2] == ""
        _, _, err = cli("image", "reconstruct", *run, "--n", 6, "--out", tmp_path / "a.png")
        assert "all are drawn" not in err
