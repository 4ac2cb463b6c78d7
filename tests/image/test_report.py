"""The report of image runs: its sections by what a model has, its pictures, labels, findings and errors."""

import base64
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from seqgen.core.errors import UserError
from seqgen.image import report, report_pictures
from seqgen.image.applications import figures
from seqgen.image.runs import load, setup
from seqgen.metrics.classifier import wilson_interval
from seqgen.report.charts import LABEL_HUES

N = 37


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, load.TrainedImages]:
    folder = tmp_path_factory.mktemp("image-report")
    made = {}
    for name, model, values in (
        ("plain", "vae", {"net.hidden": 17, "latent_dim": 3}),
        ("plane", "autoencoder", {"net.hidden": 17, "latent_dim": 2, "conditional": True}),
        ("game", "gan", {"generator.hidden": 17, "critic.hidden": 17}),
    ):
        setup.train(model, "digits", run=folder / name, steps=12, values=values | {"report_every": 4})
        made[name] = load.load(folder / name, "cpu")
    return made


@pytest.fixture(scope="module")
def page(runs: dict[str, load.TrainedImages]) -> str:
    return report.page([runs["plane"]], n=N, seed=3)


def sections(page: str) -> list[str]:
    return re.findall(r'<section id="([\w-]+)"', page)


def test_a_page_has_the_sections_that_its_models_have(runs: dict[str, load.TrainedImages], page: str) -> None:
    assert sections(page) == list(report.SECTIONS)
    of_game = sections(report.page([runs["game"]], n=N, seed=3))
    assert of_game == [each for each in report.SECTIONS if each not in ("reconstructions", "latents")]
    assert report.page([runs["plane"]], n=N, seed=3) == page
    assert "the labels 0, 1, 2, 3, 4, 5, 6, 7, 8, 9 in turn" in page
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(runs["plane"].run.config, "training_labels", [0, 2, 9])
        assert report._in_turn(runs["plane"]) == "the labels 0, 2, 9 in turn"


@pytest.mark.cuda
def test_a_run_on_a_gpu_has_the_same_sections(runs: dict[str, load.TrainedImages]) -> None:
    for trained in runs.values():
        on_gpu = report.page([load.load(trained.run.path, "cuda")], n=N, seed=3)
        assert sections(on_gpu) == sections(report.page([trained], n=N, seed=3))


def test_pictures_are_inline_and_as_large_as_they_say(page: str) -> None:
    found = re.findall(r'<img src="([^"]*)" alt="([^"]*)" width="(\d+)" height="(\d+)">', page)
    assert len(found) == page.count("<img") > 20
    for source, _, width, height in found:
        head, _, content = source.partition(",")
        assert head == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
            assert picture.size == (int(width), int(height))
    assert {alt for _, alt, *_ in found} >= {
        "original",
        "reconstruction",
        "sample",
        "nearest",
        "step 0",
        "step 12",
    }
    # a conditional model: a row for each label of the samples and of real images
    assert [alt for _, alt, *_ in found if alt in set("0123456789")] == 2 * list("0123456789")


def test_the_summary_has_the_numbers_of_the_evaluation(runs: dict[str, load.TrainedImages]) -> None:
    from seqgen.image.evaluation.evaluate import evaluate

    trained = runs["plain"]
    scores = evaluate(
        trained, N, seed=3, importance=report.IMPORTANCE, images=report.LIKELIHOOD_IMAGES, annealed=0
    )
    page = report.page([trained, runs["game"]], n=N, seed=3)
    part = page[: page.index('<section id="samples"')]
    assert '<th scope="col">real images</th><th scope="col">plain</th><th scope="col">game</th>' in part
    for name in ("precision", "recall", "coverage"):
        cells = ""
        for key in ("training_images", "samples"):
            low, high = scores["ranges"][key][name]
            assert low <= scores[key][name] <= high
            cells += f"<td>{scores[key][name]:.1%}<small>{low:.1%}–{high:.1%}</small></td>"
        assert cells in part
    low, high = wilson_interval(round(scores["nearest"]["copy_rate"] * N), N)
    assert f"<td>{scores['nearest']['copy_rate']:.1%}<small>{low:.1%}–{high:.1%}</small></td>" in part
    assert "its range over 3 classifiers of other seeds" in part
    assert f"below copies the 95 % interval of {N} samples" in part
    assert f"ELBO of test images {scores['likelihood']['elbo']:.2f} nats" in part
    assert part.index("Summary") < part.index("1,366 training images of 8×8×1")


def test_the_legend_of_a_map_names_every_label(runs: dict[str, load.TrainedImages]) -> None:
    drawn = report_pictures.latent_map("plain", runs["plain"], seed=3)
    assert drawn is not None
    chart, keys = drawn
    labels = runs["plain"].data.test.labels.numpy()
    assert [key.label for key in keys] == [str(label) for label in np.unique(labels)]
    assert [line.path.count("M") for line in chart.lines] == np.bincount(labels).tolist()
    assert [name.text for name in chart.names] == [key.label for key in keys]
    assert len({key.hue for key in keys}) == min(len(keys), LABEL_HUES)


def test_images_without_a_label_are_named_so(runs: dict[str, load.TrainedImages]) -> None:
    images = runs["plain"].data.test
    labels = images.labels.clone()
    labels[:5] = -1
    groups = report_pictures._groups(
        runs["plain"], type(images)(images.pixels, labels), np.zeros((len(labels), 2))
    )
    assert groups[-1][0].label == "no label"
    assert len(groups[-1][1]) == 5


def test_a_damaged_grid_of_samples_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "step-0000001.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    (tmp_path / "step-x.png").write_bytes(b"")
    for each in tmp_path.iterdir():
        assert report_pictures._panel(each) is None
    Image.new("L", (64, 32)).save(tmp_path / "step-0000003.png")
    panel = report_pictures._panel(tmp_path / "step-0000003.png")
    assert panel is not None
    assert (panel.caption, panel.width, panel.height) == ("step 3", 32, 16)


def test_what_stands_out_is_named() -> None:
    samples = {"precision": 0.5, "recall": 0.3}
    scores = {
        "samples": samples,
        "training_images": {"precision": 0.9, "recall": 0.9},
        "nearest": {"copy_rate": 0.25},
        "latent": {"active_units": 2, "dimensions": 7},
    }
    each = report.Scored("r", None, scores)  # type: ignore[arg-type]
    losses = [{"step": i, "valid_loss": loss} for i, loss in enumerate((9.0, 5.0, 6.0))]
    found = [finding.text for finding in report._findings(each, losses)]
    assert [re.sub("[^0-9%]+", " ", text).strip() for text in found] == [
        "30% 90%",
        "50% 90%",
        "25%",
        "2 7",
        "",
    ]
    assert report._findings(each, losses[:2])[-1].anchor == "latents"


def test_runs_of_other_images_are_refused(runs: dict[str, load.TrainedImages], tmp_path: Path) -> None:
    values = {"net.hidden": 5, "latent_dim": 2}
    setup.train("vae", "digits", run=tmp_path / "other", steps=1, values=values, binarise="fixed")
    with pytest.raises(UserError, match="are of different images or splits"):
        report.page([runs["plain"], load.load(tmp_path / "other", "cpu")], n=N)


def test_few_images_are_not_scored_and_the_page_says_why(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "few"
    folder.mkdir()
    for i in range(13):
        Image.fromarray(rng.integers(0, 256, (7, 5), np.uint8)).save(folder / f"{i}.png")
    values = {"net.hidden": 5, "latent_dim": 1, "batch_size": 4}
    setup.train("vae", str(folder), run=tmp_path / "run", steps=2, values=values)
    page = report.page([load.load(tmp_path / "run", "cpu")], n=N)
    assert "run was not scored:" in page
    assert "too few" in page
    assert "samples" in sections(page)
    assert "run: the latents of 3 test images" in page  # one dimension, drawn as it is
    figures.latent_map(load.load(tmp_path / "run", "cpu"), tmp_path / "one.png")
    assert (tmp_path / "one.png").exists()


def test_the_command_is_the_same_as_for_text(
    runs: dict[str, load.TrainedImages],
    small_runs: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    import typer
    from typer.testing import CliRunner

    from seqgen.cli.report import report as command

    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(command)
    invoke: Callable = lambda *words: CliRunner().invoke(  # noqa: E731
        app, [str(each) for each in words], catch_exceptions=False
    )
    run = runs["plain"].run.path
    assert invoke("--run", run, "--n", N, "--quiet").stdout == f"{run / 'report.html'}\n"
    assert sections((run / "report.html").read_text(encoding="utf-8"))[0] == "summary"
    with pytest.raises(UserError, match=r"is a run on text and .* one on images"):
        invoke("--run", run, "--run", small_runs["mle"])
    with pytest.raises(UserError, match="--temperatures are for text"):
        invoke("--run", run, "--temperatures", "1")


def test_one_classifier_has_no_range() -> None:
    values = dict.fromkeys(("frechet", "precision", "recall", "coverage"), 0.5)
    scores = {
        "samples": values,
        "training_images": values,
        "ranges": {"samples": {key: [0.5, 0.5] for key in values}, "training_images": {}},
        "nearest": {"copy_rate": 0.1, "images": 40},
        "protocol": {"feature_spaces": 1},
    }
    assert report._generated(scores)["intervals"].keys() == {"copy_rate"}
    # 4 of 40: (0.1 + z²/80) / (1 + z²/40) ± …, z² = 3.8415
    assert report._generated(scores)["intervals"]["copy_rate"] == pytest.approx((0.0396, 0.2305), abs=1e-3)
    assert report._real(scores)["intervals"] == {}
    scored = report.Scored("a", None, scores)  # type: ignore[arg-type]
    assert report._note([scored]) == report.NOTE
