"""CSV and TSV files as programs write them: the dialect is found and said, what does not fit is counted."""

import csv
import io
from pathlib import Path

import pandas
import pytest

from seqgen.core.errors import UserError
from seqgen.data import delimited as module
from seqgen.data import reading
from seqgen.data.delimited import read_csv, read_tsv
from seqgen.data.reading import Reading, Taken


def read(text: str, column: str | None = None, *, tsv: bool = False) -> tuple[list[str | None], Taken]:
    taken = Taken()
    function = read_tsv if tsv else read_csv
    chunks = function(io.BytesIO(text.encode()), "t", Reading(column), taken)
    return [each for chunk in chunks for each in chunk], taken


OF_2 = "'text' of 2, delimiter"
READ_RIGHT = [
    pytest.param("id;text\n1;Hello, you\n2;Bye, me\n", ["Hello, you", "Bye, me"], f"{OF_2} ';'", id=";"),
    pytest.param("id|text\n1|Hi, you\n2|Bye\n", ["Hi, you", "Bye"], f"{OF_2} '|'", id="|"),
    pytest.param("id\ttext\n1\tHi, you\n2\tBye\n", ["Hi, you", "Bye"], f"{OF_2} tab", id="tab"),
    pytest.param(
        "text\nA man, a plan, a canal\nHello, you\nno comma\n",
        ["A man, a plan, a canal", "Hello, you", "no comma"],
        "'text'",
        id="one column with commas that are not quoted",
    ),
    pytest.param(
        'text\n"A man, ""a plan"""\nHello, you\n',
        ['A man, "a plan"', "Hello, you"],
        "'text'",
        id="some",
    ),
    pytest.param(
        'text\n"Hello," he said.\n"Bye," she said.\n',
        ['"Hello," he said.', '"Bye," she said.'],
        "'text', quotation marks are text",
        id="speech",
    ),
    pytest.param(
        'id,text\n1,one fish\n2,"two fish\n3,red fish\n',
        ["one fish", '"two fish', "red fish"],
        f"{OF_2} ',', quotation marks are text",
        id="a stray mark where none quotes",
    ),
    pytest.param(
        "A man, a plan, a canal\nHello, you\nno comma\n",
        ["A man, a plan, a canal", "Hello, you", "no comma"],
        "1, no header",
        id="no header, one column",
    ),
    pytest.param(
        "1,a cat\n2,a dog\n", ["a cat", "a dog"], "2 of 2, no header, delimiter ','", id="no header"
    ),
    pytest.param("emma\nolivia\nava\n", ["emma", "olivia", "ava"], "1, no header", id="names"),
    pytest.param("Name\nemma\nolivia\n", ["emma", "olivia"], "'Name'", id="names with a header"),
    pytest.param("n\n12\n7\n", ["12", "7"], "'n'", id="numbers with a header"),
    pytest.param("文本\n床前明月光\n疑是地上霜\n", ["床前明月光", "疑是地上霜"], "'文本'", id="文本"),
    pytest.param("\ufefftext,n\r\na b,1\r\n", ["a b"], f"{OF_2} ','", id="BOM and CR LF"),
    pytest.param(",text\n0,a cat\n1,a dog\n", ["a cat", "a dog"], f"{OF_2} ','", id="pandas index"),
]


@pytest.mark.parametrize(("text", "sentences", "fact"), READ_RIGHT)
def test_the_dialect_is_found_and_said(text: str, sentences: list[str], fact: str) -> None:
    found, taken = read(text)
    assert found == sentences
    assert [each for each in taken.facts if not each.startswith("encoding")] == [f"column {fact}"]
    assert taken.dropped == {}


@pytest.mark.parametrize("delimiter", module.DELIMITERS)
@pytest.mark.parametrize("tsv", [False, True])
def test_what_the_csv_module_writes_is_read_back(delimiter: str, tsv: bool) -> None:
    sentences = [
        'she said "no", twice; or | so',
        "two\nlines",
        "tab\there",
        '"',
        "",
        " spaces  kept ",
        "床前",
    ]
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter).writerows([["id", "text"], *enumerate(sentences)])
    assert read(file.getvalue(), "text", tsv=tsv)[0] == sentences


def test_what_pandas_writes_with_tabs_is_read_back() -> None:
    sentences = ['He said "Hi"', "two\nlines", "plain"]
    table = pandas.DataFrame({"n": range(3), "text": sentences}).to_csv(sep="\t", index=False)
    found, taken = read(table, tsv=True)
    assert found == sentences
    assert taken.facts == ["column 'text' of 2, delimiter tab, quoted fields"]


def test_marks_between_tabs_are_text_where_nothing_shows_quoting() -> None:
    found, _ = read('id\ttext\n1\t"Hi" , he said\n2\t"unclosed\n3\t"Hi."\n', tsv=True)
    assert found == ['"Hi" , he said', '"unclosed', '"Hi."']


def test_rows_that_do_not_fit_are_counted_and_the_first_is_shown() -> None:
    found, taken = read("id,text\n1,a cat\n2,b, c\n\n3,d e\n4\n5,f g\n")
    assert found == ["a cat", None, "d e", None, "f g"]
    assert taken.dropped == {"with another number of fields": 2}
    assert taken.facts[1] == "line 3 has 3 fields, not 2"


def test_a_file_whose_rows_mostly_do_not_fit_is_refused() -> None:
    with pytest.raises(
        UserError, match="t: 3 of the first 5 rows do not fit the header, which has 2 columns"
    ):
        read("id,text\n1,A man, a plan\n2,B, c, d\n3,x, y\n4,z\n")
    late = "id,text\n" + "1,fits\n" * module.HEAD_LINES + "1,does, not\n" * (2 * module.HEAD_LINES)
    with pytest.raises(UserError, match=r"t: 4,000 of 6,000 rows do not fit .*line 2002 has 3 fields"):
        read(late)


@pytest.mark.parametrize("before", [0, 3 * module.HEAD_LINES])
def test_a_stray_mark_among_quoted_fields_is_refused_with_its_line(before: int) -> None:
    rows = '1,"one, two"\n' * before + '1,"one, two"\n2,"stray\n3,"three, four"\n'
    with pytest.raises(UserError, match=f"t: in the row of line {before + 3} a quotation mark is followed"):
        read("id,text\n" + rows)


def test_a_stray_mark_does_not_swallow_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = "".join(f"{i},number {i}\n" for i in range(9_000))
    with pytest.raises(UserError, match="t: in the row of line 9002 a quotation mark is not closed"):
        read(f'id,text\n{rows}9,"stray\n{rows}')
    monkeypatch.setattr(reading, "ITEM_CHARACTERS", 10_007)
    with pytest.raises(UserError, match="t: a field of the row in line 9002, perhaps after a stray"):
        read(f'id,text\n{rows}9,"stray\n{rows}')


def test_fields_of_many_lines_may_end_after_the_first_lines() -> None:
    long = "a\n" * 600
    found, _ = read("id,text\n" + "".join(f'{i},"{long}"\n' for i in range(7)))
    assert found == [long] * 7


def test_a_number_names_a_column_of_a_table_without_a_header() -> None:
    text = "a cat,eine Katze\na dog,ein Hund\n"
    assert read(text, "2")[0] == ["eine Katze", "ein Hund"]
    assert read("text\nword\n", "1")[0] == ["text", "word"]
    with pytest.raises(UserError, match=r"t has 2 columns of text; name one with .* its columns: '1', '2'"):
        read(text)
    with pytest.raises(UserError, match="t has no column '3'; its columns: '1', '2'"):
        read(text, "3")


def test_the_column_that_is_named_decides_the_dialect() -> None:
    text = "id;sentence, as said\n1;one, two\n2;three, four\n"
    assert read(text, "sentence, as said")[0] == ["one, two", "three, four"]


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff\r\n"])
def test_an_empty_table_has_no_rows(text: str) -> None:
    assert read(text)[0] == []


def test_a_large_field_leaves_the_limit_of_the_csv_module_as_it_was(tmp_path: Path) -> None:
    long = "word " * 200_000
    assert read(f'id,text\n1,"{long}"\n')[0] == [long]
    assert csv.field_size_limit() == 131_072
