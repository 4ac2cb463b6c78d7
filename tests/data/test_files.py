"""Files of every kind and the ways in which they can be wrong."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from seqgen.core.errors import UserError
from seqgen.data import files, reading
from seqgen.data.reading import Reading, Taken

SENTENCES = ["a cat sat .", 'she said "no" , twice', "床前明月光", "😀 smile"]


def read(spec: str | Path, column: str | None = None) -> list[str]:
    return taken(spec, Reading(column))[0]


def taken(spec: str | Path, how: Reading = Reading()) -> tuple[list[str], Taken]:
    """Return the sentences of files that are not blank, and what was taken and left out."""
    what = Taken()
    found = [each for file in files.find(str(spec)) for part in files.read(file, how, what) for each in part]
    return [each for each in found if each and each.strip()], what


def write_text(path: Path) -> None:
    path.write_text("\n".join(SENTENCES), encoding="utf-8")


def write_csv(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "caption"], *([str(i), each] for i, each in enumerate(SENTENCES))])


def write_tsv(path: Path) -> None:
    rows = ["id\tcaption", *(f"{i}\t{each}" for i, each in enumerate(SENTENCES))]
    path.write_text("\n".join(rows), encoding="utf-8")


def write_jsonl(path: Path) -> None:
    rows = [json.dumps({"id": i, "caption": each}) for i, each in enumerate(SENTENCES)]
    path.write_text("\n".join(rows), encoding="utf-8")


def write_parquet(path: Path) -> None:
    table = pa.table({"id": list(range(len(SENTENCES))), "caption": SENTENCES})
    pyarrow.parquet.write_table(table, path)


WRITERS: dict[str, Callable[[Path], None]] = {
    "a.txt": write_text,
    "noending": write_text,
    "a.de": write_text,
    "a.csv": write_csv,
    "a.CSV": write_csv,
    "a.tsv": write_tsv,
    "a.jsonl": write_jsonl,
    "a.ndjson": write_jsonl,
    "a.parquet": write_parquet,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_gives_its_sentences(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    assert read(tmp_path / name) == SENTENCES
    if files.has_columns(files.find(str(tmp_path / name))[0]):
        assert read(tmp_path / name, "caption") == SENTENCES


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl"])
def test_every_kind_but_parquet_may_be_gzipped(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    assert read(tmp_path / f"{name}.gz") == SENTENCES


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet"])
def test_a_table_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(reading, "ROWS", 3)
    WRITERS[name](tmp_path / name)
    parts = list(files.read(files.find(str(tmp_path / name))[0], Reading("caption"), Taken()))
    assert parts == [SENTENCES[:3], SENTENCES[3:]]


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl", "a.parquet"])
def test_a_column_that_is_not_there_is_named_with_those_that_are(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name)
    message = "has no column 'captoin'; its columns: 'id', 'caption'"
    with pytest.raises(UserError, match=message):
        read(tmp_path / name, "captoin")


def test_two_columns_of_text_need_a_choice(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("en,de,n\na cat,eine Katze,1\n")
    with pytest.raises(UserError, match=r"2 columns of text; name one with --column; .* 'en', 'de', 'n'"):
        read(tmp_path / "a.csv")
    assert read(tmp_path / "a.csv", "de") == ["eine Katze"]


def test_no_column_of_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2.5\n3,\n")
    with pytest.raises(UserError, match="no column of text; name one"):
        read(tmp_path / "a.csv")


def test_a_single_column_needs_no_choice_even_of_numbers(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("sum\n12\n3\n")
    assert read(tmp_path / "a.csv") == ["12", "3"]


def test_csv_fields_may_hold_newlines_quotes_and_a_megabyte(tmp_path: Path) -> None:
    long = "word " * 200_000
    (tmp_path / "a.csv").write_text(f'id,text\r\n1,"two\r\nlines, ""quoted"""\r\n2\r\n3,{long}\r\n')
    assert read(tmp_path / "a.csv", "text") == ['two\nlines, "quoted"', long]
    assert csv.field_size_limit() == 131_072  # the limit of the module is left as it was


def test_tsv_takes_quotes_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('id\ttext\n1\t"Hi" , he said\n2\t"unclosed\n3\tplain\n')
    assert read(tmp_path / "a.tsv") == ['"Hi" , he said', '"unclosed', "plain"]


def test_jsonl_rows_without_the_text_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n\n{"other": 1}\n{"text": null}\n{"text": "two"}\n')
    assert read(tmp_path / "a.jsonl") == ["one", "two"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a"}\n{"text": ', "line 2 is no JSON"),
        ('{"text": "a"}\n\n["b"]', "line 3 is no JSON object; give one object a line"),
        ('{"text": "a"}\n{"text": 7}', "line 2: 'text' holds int 7, not text"),
    ],
)
def test_wrong_json_names_the_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(UserError, match=message):
        read(tmp_path / "a.jsonl")


def test_parquet_knows_other_kinds_of_text_and_skips_null(tmp_path: Path) -> None:
    large = pa.array(["one", None, "two"], pa.large_string())
    shared = pa.array(["x", "y", "x"]).dictionary_encode()
    pyarrow.parquet.write_table(pa.table({"large": large, "n": [1, 2, 3]}), tmp_path / "a.parquet")
    pyarrow.parquet.write_table(pa.table({"shared": shared, "n": [1, 2, 3]}), tmp_path / "b.parquet")
    assert read(tmp_path / "a.parquet") == ["one", "two"]
    assert read(tmp_path / "b.parquet") == ["x", "y", "x"]
    with pytest.raises(UserError, match="column 'n' holds int64, not text"):
        read(tmp_path / "a.parquet", "n")


def test_a_value_at_no_place_of_its_dictionary_is_damage(tmp_path: Path, monkeypatch) -> None:
    from seqgen.data import tables

    shared = pa.DictionaryArray.from_arrays(pa.array([0, 7]), pa.array(["x", "y"]), safe=False)
    with pytest.raises(OSError, match="a value stands at no place of its dictionary"):
        tables._values(shared)
    pyarrow.parquet.write_table(pa.table({"text": ["x", "y"]}), tmp_path / "a.parquet")
    monkeypatch.setattr(tables, "_values", lambda column, plain=tables._values: plain(shared))
    with pytest.raises(UserError, match=r"a\.parquet is no Parquet file: a value stands at no place"):
        read(tmp_path / "a.parquet")


def test_a_column_whose_name_is_not_utf8_is_refused(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"spoken": ["x", "y"]}), tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(content.replace(b"spoken", b"spok\xe7n"))
    with pytest.raises(UserError, match=r"a\.parquet: the name of a column is text that is not UTF-8"):
        read(tmp_path / "a.parquet")


def test_what_only_ends_in_parquet_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_text("not this")
    with pytest.raises(UserError, match=r"a\.parquet is no Parquet file"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    "data",
    [
        b"plain text",
        gzip.compress(b"word " * 999, mtime=0)[:-9],
        gzip.compress(b"a", mtime=0)[:10] + b"\xff" * 9,
    ],
)
def test_a_damaged_gzip_file_is_an_error(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.txt.gz").write_bytes(data)
    with pytest.raises(UserError, match=r"a\.txt\.gz is damaged or no gzip file"):
        read(tmp_path / "a.txt.gz")


def test_a_directory_is_its_readable_files_by_name(tmp_path: Path) -> None:
    for name in ["b.txt", "a.txt", "sub/c.txt", ".hidden.txt", ".git/d.txt", "model.pt", "picture.png"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "0.jsonl").write_text('{"text": "0.jsonl"}')
    assert read(tmp_path) == ["0.jsonl", "a.txt", "b.txt", "sub/c.txt"]


def test_a_directory_without_such_files_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"")
    with pytest.raises(UserError, match=r"holds no file to read; looked for \.csv, .*\.txt, also as \.gz"):
        read(tmp_path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no file '.*nowhere\.txt'; give the path of an existing"):
        read(tmp_path / "nowhere.txt")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_forbidden_file_is_an_error(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt")
    (tmp_path / "a.txt").chmod(0)
    with pytest.raises(UserError, match=r"cannot read .*a\.txt: Permission denied"):
        read(tmp_path / "a.txt")


def test_a_read_that_the_system_refuses_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_text(tmp_path / "a.txt")

    def refuse(self: Path, *args: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=r"cannot read .*a\.txt: Permission denied"):
        read(tmp_path / "a.txt")


def test_plain_text_has_no_column(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt")
    with pytest.raises(UserError, match=r"a\.txt is plain text and has no column 'caption'"):
        read(tmp_path / "a.txt", "caption")


def test_standard_input_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("\n".join(SENTENCES).encode())))
    [source] = files.find("-")
    for _ in range(2):  # the pipe itself could be read only once
        assert list(chain(*files.read(source, Reading(), Taken()))) == SENTENCES


def test_a_pipe_is_text_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=write_text, args=[tmp_path / "pipe"])
    writer.start()
    assert read(tmp_path / "pipe") == SENTENCES
    writer.join()


def test_key_follows_bytes_format_and_column(tmp_path: Path) -> None:
    for name in ["a.txt", "b.txt", "c.csv"]:
        (tmp_path / name).write_text("same,bytes\n")
    (tmp_path / "d.txt").write_text("other\n")
    find = {name: files.find(str(tmp_path / name)) for name in ["a.txt", "b.txt", "c.csv", "d.txt"]}
    keys = {name: files.key(found, Reading()) for name, found in find.items()}
    assert keys["a.txt"] == keys["b.txt"]
    assert len({*keys.values(), files.key(find["c.csv"], Reading("same"))}) == 4


def test_parquet_without_text_in_the_column_is_refused(tmp_path: Path) -> None:
    table = {"tokens": [["a", "b"], ["c"]], "pair": [{"en": "a"}, {"en": "b"}], "n": [1, 2]}
    pyarrow.parquet.write_table(pa.table(table), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet has no column of text; .* 'tokens', 'pair', 'n'"):
        read(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"column 'tokens' holds list<.*string>, not text"):
        read(tmp_path / "a.parquet", "tokens")


def test_parquet_whose_text_is_no_utf8_is_refused(tmp_path: Path) -> None:
    column = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(bytes([0, 0, 0, 0, 2, 0, 0, 0])), pa.py_buffer(b"\xff\xfe")]
    )
    pyarrow.parquet.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: column 'text' holds text that is not UTF-8"):
        read(tmp_path / "a.parquet")


def test_what_was_taken_of_parquet_is_said(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pa.table({"n": [1, 2, 3], "t": ["a", None, "b"]}), tmp_path / "a.parquet")
    found, what = taken(tmp_path / "a.parquet")
    assert (found, what.facts, what.dropped) == (["a", "b"], ["column 't' of 2"], {"null or missing": 1})


def test_a_gzipped_file_needs_no_suffix(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(gzip.compress("\n".join(SENTENCES).encode()))
    assert read(tmp_path / "a.txt") == SENTENCES


@pytest.mark.parametrize(
    ("start", "kind"),
    [(b"PK\x03\x04", "zip"), (b"BZh9", "bzip2"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd")],
)
def test_other_archives_are_named(tmp_path: Path, start: bytes, kind: str) -> None:
    (tmp_path / "a.csv").write_bytes(start + b" and more")
    with pytest.raises(UserError, match=rf"a\.csv is a {kind} archive; unpack it and give the text"):
        read(tmp_path / "a.csv")


def bomb(path: Path) -> None:
    """Write half a megabyte of text in a few kilobytes."""
    if path.suffix == ".parquet":
        same = pa.DictionaryArray.from_arrays(pa.array([0] * 5_003), pa.array(["x" * 101]))
        pyarrow.parquet.write_table(pa.table({"text": same}), path, compression="zstd")
    else:
        path.write_bytes(gzip.compress(b"x" * 100 + b"\n" + (b"x" * 100 + b"\n") * 5_002))


def test_a_damaged_footer_of_a_parquet_file_does_not_end_the_process(tmp_path: Path) -> None:
    """Asked for a damaged column, pyarrow aborts; so each bit is flipped in a process of its own."""
    pyarrow.parquet.write_table(
        pa.table({"text": ["one", "two", None], "n": [1, 2, 3]}), tmp_path / "a.parquet"
    )
    code = """
import subprocess
import sys
from pathlib import Path
from seqgen.core.errors import UserError
from seqgen.data import files
from seqgen.data.reading import Reading, Taken
good, bad = Path(sys.argv[1]).read_bytes(), Path(sys.argv[1]).with_name("b.parquet")
size = 8 + int.from_bytes(good[-8:-4], "little")
refused = 0
for at in range(len(good) - size, len(good) - 8):
    content = bytearray(good)
    content[at] ^= 16
    bad.write_bytes(content)
    try:
        list(files.read(files.find(str(bad))[0], Reading("text"), Taken()))
    except UserError:
        refused += 1
print(refused)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.parquet")], check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert int(done.stdout) > 100


@pytest.mark.parametrize("name", ["a.txt.gz", "a.parquet"])
def test_what_expands_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    bomb(tmp_path / name)
    assert len(read(tmp_path / name)) == 5_003
    monkeypatch.setattr(reading, "EXPANDED", 1 << 16)
    monkeypatch.setattr(reading, "EXPANSION", 7)
    with pytest.raises(UserError, match=r"expands to more than 0 MiB and 7 times its size.*unpack it"):
        read(tmp_path / name)


def test_too_long_a_field_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ITEM_CHARACTERS", 1_009)
    pyarrow.parquet.write_table(pa.table({"text": ["a", "x" * 2_003]}), tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet: row 2 has more than"):
        read(tmp_path / "a.parquet")


def test_a_pipe_of_json_lines_is_read_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "".join(json.dumps({"text": each, "tokens": 3, "log_prob": -1.5}) + "\n" for each in SENTENCES)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(rows.encode()))))
    [source] = files.find("-")
    assert list(chain(*files.read(source, Reading(), Taken()))) == SENTENCES


def test_a_separator_is_for_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\n  b\n\nc\n")
    assert taken(tmp_path / "a.txt", Reading(separator="blank"))[0] == ["a\n  b", "c"]
    write_csv(tmp_path / "a.csv")
    with pytest.raises(UserError, match=r"a\.csv is a table, whose rows need no separator"):
        taken(tmp_path / "a.csv", Reading(separator="blank"))


def test_the_encoding_of_a_table(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes("id;text\n1;café\n".encode("windows-1252"))
    found, what = taken(tmp_path / "a.csv", Reading(encoding="windows-1252"))
    assert (found, what.facts[0]) == (["café"], "encoding windows-1252")


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null"])
def test_a_device_is_refused(device: str) -> None:
    with pytest.raises(UserError, match=f"{device} is a device, which may never end; give a file"):
        files.find(device)


def test_parquet_needs_no_encoding(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match=r"a\.parquet is a Parquet file, whose text is UTF-8; leave the enc"):
        taken(tmp_path / "a.parquet", Reading(encoding="shift_jis"))


def test_options_that_are_meant_for_other_files_are_left_out(tmp_path: Path) -> None:
    how = Reading("text", "shift_jis", "%")
    kept = {
        "a.txt": Reading(None, "shift_jis", "%"),
        "a.csv": Reading("text", "shift_jis"),
        "a.parquet": Reading("text"),
    }
    for name, expected in kept.items():
        WRITERS[name](tmp_path / name)
        assert files.fitting(how, files.find(str(tmp_path / name))) == expected
