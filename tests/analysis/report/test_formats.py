"""Tables written in each format read back as their numbers."""

import csv
import io

import pytest

from electrojax.analysis.report import formats
from electrojax.analysis.report.tables import Column, Statistic, Table

TABLE = Table(
    "t",
    [Column("test/forces_rmse", "meV/Å"), Column("scf/steps")],
    ["a|b & c_d", "scf"],
    [3, 1],
    [
        [Statistic(53.123456789012345, 1.2345, 3), Statistic(0.0, 0.0, 3)],
        [Statistic(41.5, 0.5, 2), None],
    ],
)


def numbers(text):
    mean, _, spread = text.strip(" *").partition(" ± ")
    return float(mean), float(spread)


def test_csv_keeps_every_digit():
    rows = list(csv.DictReader(io.StringIO(formats.csv([TABLE]))))
    first = rows[0]
    assert [row["label"] for row in rows] == ["a|b & c_d", "scf"] and rows[1]["runs"] == "1"
    assert float(first["test/forces_rmse (meV/Å) mean"]) == 53.123456789012345
    assert float(first["test/forces_rmse (meV/Å) std"]) == 1.2345
    assert first["test/forces_rmse (meV/Å) n"] == "3" and first["scf/steps n"] == "3"
    assert [row["test/forces_rmse (meV/Å) best"] for row in rows] == ["0", "1"]
    assert rows[1]["scf/steps mean"] == "" and rows[1]["scf/steps n"] == "0"


def test_markdown_reads_back():
    lines = formats.markdown(TABLE).splitlines()
    assert len(lines) == 4 and len({line.replace(r"\|", "").count("|") for line in lines}) == 1
    cells = [c.strip() for c in lines[2].replace(r"\|", "¦").strip("|").split("|")]
    assert cells[0] == "a¦b & c_d" and numbers(cells[2]) == (53.1, 1.2)
    best = lines[3].split("|")[3].strip()
    assert best == "**41.50 ± 0.50**" and lines[3].split("|")[4].strip() == ""


def test_latex_reads_back():
    text = formats.latex([TABLE])
    assert text.count(r"\begin{tabular}{lrrr}") == text.count(r"\end{tabular}") == 1
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert rows[0] == r" & runs & test/forces\_rmse (meV/\AA{}) & scf/steps \\"
    cells = rows[1].removesuffix(r" \\").replace(r"\&", "+").split(" & ")
    assert cells[0] == r"a|b + c\_d" and cells[2] == r"53.1 $\pm$ 1.2"
    assert r"\textbf{41.50 $\pm$ 0.50}" in rows[2]
    assert all(line.replace(r"\&", "").count("&") == 3 for line in rows)


@pytest.mark.parametrize(("text", "escaped"), [("50%", r"50\%"), ("a\\b", r"a\textbackslash{}b")])
def test_latex_escapes(text, escaped):
    assert formats.escape(text) == escaped


HOSTILE = '=cmd|"/c calc"!A1 <script>alert(1)</script> [a](javascript:b) `x`\n\x1b[31m\u202eend'


@pytest.fixture
def hostile():
    labels, cells = [HOSTILE, "+1", "-1", "@a", "plain"], [[Statistic(-1.0, None, 1)]] * 5
    return Table(HOSTILE, [Column(HOSTILE)], labels, [1] * 5, cells)


def test_markdown_shows_hostile_names_as_text(hostile):
    text = formats.markdown(hostile)
    assert len(text.splitlines()) == 2 + 5, "a name has no second line"
    for raw in ("<script", "](", "\x1b", "\u202e", " `x"):
        assert raw not in text
    assert "&lt;script>" in text and r"\x1b[31m\\u202eend" in text.replace("\\\\x", "\\x")


def test_csv_has_no_formulas_but_negative_numbers(hostile):
    rows = list(csv.reader(io.StringIO(formats.csv([hostile]))))
    assert len(rows) == 1 + 5
    for row in rows:
        for text in row:
            assert not text.startswith(("=", "+", "@", "\t", "\r"))
            assert not text.startswith("-") or float(text) == -1.0
    assert [row[1] for row in rows[2:]] == ["'+1", "'-1", "'@a", "plain"]
    assert rows[5][3] == "-1.0"


def test_latex_of_a_name_with_two_lines_stays_a_comment(hostile):
    for line in formats.latex([hostile]).splitlines():
        assert line.startswith(("%", "\\", "{", "'", " ")) or line.endswith(r"\\")
    assert "\x1b" not in formats.latex([hostile])
