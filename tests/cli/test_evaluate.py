"""`seqgen evaluate` on files: its output, and the message of every user error."""

import gzip
import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from seqgen.cli.evaluate import evaluate, evaluate_files
from seqgen.core.errors import UserError

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(evaluate)

HYP = "a dog runs .\nthe cat sat on a mat .\n\na dog runs .\n"
REF = "a dog runs fast .\ntwo men ride a horse .\n"
TRAIN = "a dog runs .\nthe cat sat .\nit rains .\n"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, text in {"hyp.txt": HYP, "ref.txt": REF, "train.txt": TRAIN}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def run(folder: Path, *arguments: str, stdin: bytes | None = None) -> str:
    names = {p.name for p in folder.iterdir()}
    result = CliRunner().invoke(
        app, [str(folder / a) if a in names else a for a in arguments], input=stdin, catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    return result.stdout


def test_json_is_one_object_with_its_keys(files: Path) -> None:
    results = json.loads(run(files, "--hyp", "hyp.txt", "--ref", "ref.txt", "--train", "train.txt", "--json"))
    assert set(results) >= {
        "bleu",
        "self_bleu",
        "sacrebleu",
        "nll_test",
        "nll_gen",
        "distinct",
        "unique",
        "novel",
        "real",
        "protocol",
    }
    assert list(results["bleu"]) == ["2", "3", "4", "5"]
    assert results["copies"] == 2
    assert results["protocol"]["references_from"] == str(files / "ref.txt")
    assert (results["protocol"]["n"], results["protocol"]["blank"]) == (4, 1)
    assert (results["real"]["lengths"]["max"], results["protocol"]["real_n"]) == (4, 3)


def test_the_table_names_the_file_and_the_protocol(files: Path) -> None:
    text = run(files, "--hyp", "hyp.txt", "--ref", "ref.txt", "--temperature", "0.8", "--seed", "7")
    flat = " ".join(text.split())
    facts = ("hyp.txt", "BLEU-5", "self-BLEU-5", "N 4 (1 blank", "2 references", "temperature 0.8", "seed 7")
    for fact in facts:
        assert fact in flat
    assert "real text: not scored; name the training sentences with --train" in flat


def test_several_files_stand_in_rows_and_in_one_picture(files: Path) -> None:
    (files / "other.txt").write_text("the cat sat .\nit rains .\nit rains .\n", encoding="utf-8")
    picture = str(files / "curve.png")
    both = ["--hyp", "hyp.txt", "--hyp", "other.txt", "--ref", "ref.txt", "--train", "train.txt"]
    results = json.loads(run(files, *both, "--plot", picture, "--json"))
    names = [str(files / name) for name in ("hyp.txt", "other.txt")]
    assert [row["name"] for row in results["rows"]] == names
    assert results["protocol"]["hypotheses_from"] == names
    assert results["protocol"]["n"] == 3  # the shorter file has no more
    assert results["rows"][1]["copies"] == 3
    assert (files / "curve.png").read_bytes().startswith(b"\x89PNG")
    table = run(files, *both)
    assert table.count("n-gram baseline ") > 5


def test_a_protocol_by_name_is_printed_with_the_scores(files: Path) -> None:
    both = ["--hyp", "hyp.txt", "--ref", "ref.txt"]
    flat = " ".join(run(files, *both, "--protocol", "sacrebleu").split())
    for fact in (
        "protocol sacrebleu: N 4",
        "13a tokens",
        "sentence_score / 100",
        "sacrebleu: nrefs:2|case:mixed",
    ):
        assert fact in flat
    flat = " ".join(run(files, *both, "--protocol", "texygen").split())
    for fact in ("protocol texygen: N 4", "treebank tokens", "NLTK's sentence_bleu with method1"):
        assert fact in flat


def test_word_vectors_from_a_file_change_the_distance_and_are_named(files: Path) -> None:
    words = sorted(set((HYP + REF).split()))
    vectors = "".join(f"{word} {i % 3} {i % 5}\n" for i, word in enumerate(words))
    (files / "vectors.txt").write_text(vectors, encoding="utf-8")
    both = ["--hyp", "hyp.txt", "--ref", "ref.txt", "--json"]
    own, given = (json.loads(run(files, *both, *more)) for more in ([], ["--embeddings", "vectors.txt"]))
    assert 0 < given["frechet"] != own["frechet"]
    assert given["protocol"]["encoder"] == f"mean word vector of {files / 'vectors.txt'}"
    assert given["bleu"] == own["bleu"]


def test_n_takes_the_first_lines(files: Path) -> None:
    whole = evaluate_files(files / "hyp.txt", files / "ref.txt", n=2)
    (files / "two.txt").write_text("".join(HYP.splitlines(keepends=True)[:2]), encoding="utf-8")
    assert whole["bleu"] == evaluate_files(files / "two.txt", files / "ref.txt")["bleu"]


def test_either_spelling_of_tokenisation(files: Path) -> None:
    texts = [
        run(files, "--hyp", "hyp.txt", "--ref", "ref.txt", option, "character")
        for option in ("--tokenisation", "--tokenization")
    ]
    assert texts[0] == texts[1]
    assert "character tokens" in " ".join(texts[0].split())


def test_standard_input_gzip_bom_and_windows_lines_read_alike(files: Path) -> None:
    plain = evaluate_files(files / "hyp.txt", files / "ref.txt")
    (files / "dos.txt").write_bytes(b"\xef\xbb\xbf" + HYP.replace("\n", "\r\n").encode())
    (files / "hyp.gz").write_bytes(gzip.compress(HYP.encode()))
    piped = json.loads(run(files, "--hyp", "-", "--ref", "ref.txt", "--json", stdin=HYP.encode()))
    for other in (
        evaluate_files(files / "dos.txt", files / "ref.txt"),
        evaluate_files(files / "hyp.gz", files / "ref.txt"),
        piped,
    ):
        assert other | {"protocol": None} == plain | {"protocol": None}


def test_composed_and_decomposed_letters_are_the_same_word(files: Path) -> None:
    (files / "composed.txt").write_text("caf\u00e9 noir\nth\u00e9 vert\n", encoding="utf-8")
    (files / "decomposed.txt").write_text("cafe\u0301 noir\nthe\u0301 vert\n", encoding="utf-8")
    assert evaluate_files(files / "decomposed.txt", files / "composed.txt")["bleu"]["2"] == pytest.approx(1.0)


def test_the_samples_of_an_estimated_likelihood_can_be_chosen(small_runs: dict[str, Path]) -> None:
    options = ["--n", "13", "--nll-sentences", "5", "--nll-samples", "3", "--json", "--quiet"]
    found = json.loads(run(small_runs["sentence-vae"], "--run", str(small_runs["sentence-vae"]), *options))
    test = found["likelihood"]["test"]
    assert (test["sentences"], test["samples"]) == (5, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hyp", "no.txt", "--ref", "ref.txt"], r"--hyp 'no.txt' does not exist; give a file"),
        (["--hyp", "hyp.txt", "--ref", "no.txt"], r"--ref 'no.txt' does not exist"),
        (["--hyp", "hyp.txt", "--ref", "ref.txt", "--train", "no.txt"], r"--train 'no.txt' does not exist"),
        (["--hyp", "empty.txt", "--ref", "ref.txt"], r"--hyp '.*empty.txt' is empty"),
        (["--hyp", "blank.txt", "--ref", "ref.txt"], r"--hyp '.*blank.txt' is empty"),
        (["--hyp", "hyp.txt", "--ref", "blank.txt"], r"--ref '.*blank.txt' is empty"),
        (["--hyp", "one.txt", "--ref", "ref.txt"], r"1 sentence to score.*give at least 2"),
        (["--hyp", "latin.txt", "--ref", "ref.txt"], r"latin.txt' is not UTF-8: line 1 holds byte 0xe9"),
        (["--hyp", "nul.bin", "--ref", "ref.txt"], r"nul.bin' is no text file: line 1 holds a NUL byte"),
        (["--hyp", "torn.gz", "--ref", "ref.txt"], r"torn.gz' is damaged or no gzip file"),
        (["--hyp", "folder", "--ref", "ref.txt"], r"folder' holds no file to read"),
        (["--hyp", "hyp.txt"], r"--hyp needs --ref"),
        (["--ref", "ref.txt"], r"--ref needs --hyp"),
        (["--hyp", "hyp.txt", "--ref", "ref.txt", "--run", "runs/x"], r"--run and --hyp are both given"),
        (["--train", "train.txt"], r"--train goes with --hyp"),
        (["--hyp", "hyp.txt", "--ref", "ref.txt", "--n", "1"], r"--n 1: self-BLEU"),
        (["--hyp", "hyp.txt", "--ref", "ref.txt", "--n", "5"], r"--n 5: --hyp '.*hyp.txt' has 4 lines"),
        (
            ["--hyp", "hyp.txt", "--ref", "ref.txt", "--tokenisation", "whitspace"],
            r"no tokenisation 'whitspace'; did you mean 'whitespace'",
        ),
        (["--tokenisation", "whitspace"], r"did you mean 'whitespace'"),
        (["--protocol", "texigen"], r"no protocol 'texigen'; did you mean 'texygen'"),
        (
            ["--hyp", "no.txt", "--ref", "ref.txt", "--protocol", "texygen", "--tokenisation", "character"],
            r"--protocol texygen scores treebank tokens, not character",
        ),
        (["--hyp", "hyp.txt", "--hyp", "one.txt", "--ref", "ref.txt"], r"1 sentence to score"),
        (["--hyp", "hyp.txt", "--hyp", "hyp.txt", "--ref", "ref.txt"], r"--hyp '.*hyp.txt' is given twice"),
        (["--run", "runs/x", "--run", "runs/x"], r"--run 'runs/x' is given twice"),
        (
            ["--hyp", "hyp.txt", "--ref", "ref.txt", "--temperatures", "1"],
            r"which only a run can; give --run",
        ),
        (["--temperatures", "0.5;1"], r"--temperatures '0.5;1': give comma-separated numbers of at least 0"),
        (["--temperatures", "-1,1"], r"--temperatures '-1,1': give comma-separated numbers"),
        (["--temperatures", "nan"], r"--temperatures 'nan': give comma-separated numbers"),
        (["--hyp", "hyp.txt", "--ref", "ref.txt", "--plot", "x.pdf"], r"--plot 'x.pdf' does not end in .png"),
        (
            ["--hyp", "hyp.txt", "--ref", "ref.txt", "--embeddings", "ref.txt"],
            r"--embeddings '.*ref.txt' is no file of word vectors: line 1",
        ),
        (["--hyp", "hyp.txt", "--ref", "ref.txt", "--encoder", "bert"], r"no encoder 'bert'; allowed"),
        (
            ["--hyp", "hyp.txt", "--ref", "ref.txt", "--nll-samples", "3"],
            r"--nll-sentences and --nll-samples estimate the likelihood of a run; a file has no model",
        ),
    ],
)
def test_every_mistake_is_answered_in_one_line(files: Path, arguments: list[str], message: str) -> None:
    (files / "empty.txt").write_bytes(b"")
    (files / "blank.txt").write_bytes(b"\n  \n")
    (files / "one.txt").write_bytes(b"a dog .\n")
    (files / "latin.txt").write_bytes("caf\u00e9\n".encode("latin-1"))
    (files / "nul.bin").write_bytes(b"ab\0cd\n")
    (files / "torn.gz").write_bytes(gzip.compress(HYP.encode())[:-9])
    (files / "folder").mkdir()
    with pytest.raises(UserError, match=message) as caught:
        run(files, *arguments)
    assert "\n" not in str(caught.value)
