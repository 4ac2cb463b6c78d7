"""Pictures: where every pixel goes, captions, the sheet over training, the scatter; the same file twice."""

import numpy as np
import pytest
import torch
from PIL import Image

from seqgen.image.runs import plots


def opened(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_every_image_stands_where_it_belongs():
    # 5 images of 3 × 2 pixels in rows of 2: three rows, a pixel 22 wide (64 / 3 rounded up), one between
    images = torch.arange(5)[:, None, None, None].expand(5, 1, 3, 2) / 5
    canvas = plots.tiles(images, 2)
    assert canvas.shape == ((3 * 3 + 2) * 22, (2 * 2 + 1) * 22)
    small = canvas[::22, ::22]
    assert np.array_equal(small.repeat(22, axis=0).repeat(22, axis=1), canvas)
    for i in range(5):
        top, left = i // 2 * 4, i % 2 * 3
        assert (small[top : top + 3, left : left + 2] == round(i / 5 * 255)).all()
    assert (small[3] == 255).all()  # between the rows
    assert (small[:, 2] == 255).all()  # between the columns
    assert (small[8:, 3:] == 255).all()  # where a sixth image would be


def test_without_a_gap_and_in_colour():
    images = torch.rand(6, 3, 64, 64)
    canvas = plots.tiles(images, 3, gap=False)
    assert canvas.shape == (128, 192, 3)
    expected = (images[4] * 255).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(canvas[64:, 64:128], expected)


def test_values_outside_the_range_are_cut_off():
    images = torch.tensor([-0.5, 1.5])[:, None, None, None].expand(2, 1, 64, 64)
    canvas = plots.tiles(images, 2, gap=False)
    assert (canvas[:, :64] == 0).all()
    assert (canvas[:, 64:] == 255).all()


@pytest.mark.parametrize("shape", [(0, 1, 8, 8), (2, 2, 8, 8)])
def test_what_is_no_image_is_refused(shape):
    with pytest.raises(ValueError, match="grey or colour images"):
        plots.tiles(torch.zeros(shape), 2)


def test_a_grid_is_the_same_file_twice_and_captions_stand_beside_its_rows(tmp_path):
    images = torch.zeros(6, 1, 8, 8)
    for name in ("a.png", "b.png"):
        plots.grid(images, 3, tmp_path / name, captions=["noisy", "clean"])
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    grid = opened(tmp_path / "a.png")
    plots.grid(images, 3, tmp_path / "bare.png")
    bare = opened(tmp_path / "bare.png")
    assert grid.shape[0] == bare.shape[0]
    margin = grid.shape[1] - bare.shape[1]
    assert np.array_equal(grid[:, margin:], bare)
    for half in np.array_split(grid[:, :margin], 2):  # a word for each row, on white
        assert half.min() < 100
        assert (half == 255).mean() > 0.7


def test_headings_stand_above_their_columns(tmp_path):
    images = torch.zeros(6, 1, 8, 8)
    plots.grid(images, 3, tmp_path / "bare.png")
    plots.grid(images, 3, tmp_path / "a.png", headings=["0", "a name that is far too long", "2"])
    bare, grid = opened(tmp_path / "bare.png"), opened(tmp_path / "a.png")
    assert grid.shape[1] == bare.shape[1]
    margin = grid.shape[0] - bare.shape[0]
    assert np.array_equal(grid[margin:], bare)
    for third in np.array_split(grid[:margin], 3, axis=1):
        assert third.min() < 100
        assert (third[:, [0, -1]] == 255).all()  # no heading leaves its column
    plots.write_report_samples(tmp_path / "step-0000003", torch.zeros(64, 1, 8, 8), headings=["a", "b", "c"])
    assert opened(tmp_path / "step-0000003.png").shape[1] == grid.shape[1]


def test_the_numbers_chosen_are_spread_evenly():
    assert plots.evenly_spaced(3, 5) == [0, 1, 2]
    assert plots.evenly_spaced(9, 5) == [0, 2, 4, 6, 8]
    chosen = plots.evenly_spaced(1000, 12)
    assert len(chosen) == 12
    assert (chosen[0], chosen[-1]) == (0, 999)
    assert max(np.diff(chosen)) - min(np.diff(chosen)) <= 1


def test_reports_leave_their_grids_and_a_sheet_of_them(tmp_path):
    folder = tmp_path / "samples"
    for step in range(0, 140, 10):
        plots.write_report_samples(folder / f"step-{step:07d}", torch.full((64, 1, 8, 8), step / 130))
    grids = sorted(folder.glob("step-*.png"))
    assert [path.name for path in grids[:2]] == ["step-0000000.png", "step-0000010.png"]
    assert len(grids) == 14
    side = 8 * 8 * 8 + 7 * 8  # 8 in a row, 8 pixels a pixel, one pixel between
    assert opened(grids[0]).shape == (side, side)
    sheet, half = opened(folder / "sheet.png"), side // 2
    panels = [
        sheet[row * (half + 30) : row * (half + 30) + half, left * (half + 15) : left * (half + 15) + half]
        for row in range(3)
        for left in range(4)
    ]
    # of 14 reports 12 are shown, the first and the last among them, each as dark as it was
    chosen = [round(i * 13 / 11) for i in range(12)]
    assert [int(panel[0, 0]) for panel in panels] == [round(10 * i / 130 * 255) for i in chosen]
    below = sheet[half : half + 30, :half]
    assert below.min() < 100  # its step


def test_points_are_drawn_in_the_colours_of_their_labels(tmp_path):
    points = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    for name in ("a.png", "b.png"):
        plots.scatter(points, np.array([0, 1, -1, 12]), tmp_path / name, title="t", axes=("x", "y"))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    seen = {tuple(colour) for colour in opened(tmp_path / "a.png")[:, :, :3].reshape(-1, 3).tolist()}
    # the numbers of the labels 0, 1 and 12, in the first colours of "tab10"; -1 has no number and takes none
    assert {(31, 119, 180), (255, 127, 14), (44, 160, 44)} <= seen
    assert (214, 39, 40) not in seen


@pytest.mark.parametrize("n", [7, 47])
def test_a_legend_names_every_label_however_many_there_are(tmp_path, n):
    # all points of all labels in one place: only the last ones drawn can be seen there
    points, labels = np.zeros((2 * n, 2)), np.repeat(np.arange(n), 2)
    plots.scatter(points, labels, tmp_path / "a.png", names=[f"label {i}" for i in range(n)])
    picture = opened(tmp_path / "a.png")[:, :, :3].astype(int)
    legend = picture[:, 900:].reshape(-1, 3)
    for colour in plots._colours(n):
        wanted = np.rint(255 * np.array(colour[:3]))
        assert (abs(legend - wanted).max(axis=1) <= 1).any()
