"""YAML with positions: scalars of YAML 1.2, duplicate keys, damaged files."""

from pathlib import Path

import pytest
import yaml

from electrojax.config.document import (
    Position,
    dump_document,
    parse_document,
    parse_value,
    read_document,
)
from electrojax.errors import ConfigError

START = Position("run.yaml", 1, Path("/"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-5", 1e-5),
        ("1E5", 1e5),
        ("-.5", -0.5),
        ("2.", 2.0),
        ("1.0e-5", 1e-5),
        ("007", 7),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("", None),
        ("'1e-5'", "1e-5"),
        ("2024-01-01", "2024-01-01"),
        ("-.inf", float("-inf")),
        ("[1, a, {b: 2.5}]", [1, "a", {"b": 2.5}]),
    ],
)
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    parsed = parse_value(text, START).plain()
    assert parsed == value
    assert type(parsed) is type(value)


def test_element_symbols_stay_text() -> None:
    # YAML 1.1 reads No (nobelium) as false; PyYAML would give {False: 1.0}.
    assert parse_document("{No: 1.0, 1: 2, true: 3}", START).plain() == {
        "No": 1.0,
        "1": 2,
        "true": 3,
    }


def test_positions_are_the_lines_of_keys_and_items() -> None:
    root = parse_document("a:\n  b:\n    1\n  c:\n    - 2\n    - d: 3\n", START)
    assert str(root.nearest(("a", "b")).position) == "run.yaml:2"
    assert str(root.nearest(("a", "c", 1)).position) == "run.yaml:6"
    assert str(root.nearest(("a", "c", "1", "d")).position) == "run.yaml:6"
    assert str(root.nearest(("a", "missing", "deeper")).position) == "run.yaml:1"


@pytest.mark.parametrize(
    ("text", "needles"),
    [
        ("a: 1\nb: 2\na: 3\n", ["run.yaml:3", '"a" is given twice', "run.yaml:1"]),
        ("a: {b: 1, b: 1}\n", ["run.yaml:1", '"b" is given twice']),
        ("a: 1\nb: [1, 2\nc: 3\n", ["run.yaml:3", "not valid YAML"]),
        ("a:\n\t- 1\n", ["run.yaml:2", "not valid YAML"]),
        ("- 1\n- 2\n", ["run.yaml:1", "block of `key: value` lines"]),
        ("a: 1\n---\nb: 2\n", ["run.yaml:2", "not valid YAML"]),
        ("a: !!python/object:os.system {}\n", ["run.yaml:1", "not accepted"]),
        ("a: !!python/name:os.system x\n", ["run.yaml:1", "not accepted"]),
        ("a: &x [*x]\n", ["run.yaml:1", "alias contains itself"]),
        ("? [1, 2]\n: 3\n", ["run.yaml:1", "a key must be a word"]),
        ("a: \x07\n", ["run.yaml", "not valid YAML"]),
        ("[" * 5000, ["run.yaml", "nested too deeply"]),
    ],
)
def test_damaged_documents_are_refused_in_one_line(text: str, needles: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_document(text, START)
    message = str(caught.value)
    assert "\n" not in message
    assert all(needle in message for needle in needles), message


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: \xff\xfe\n")
    with pytest.raises(ConfigError, match=r"b\.yaml: is not UTF-8"):
        read_document(binary, "b.yaml", tmp_path)
    with pytest.raises(ConfigError, match=r"gone\.yaml: cannot be read: No such file"):
        read_document(tmp_path / "gone.yaml", "gone.yaml", tmp_path)


def test_an_empty_file_is_an_empty_block() -> None:
    assert parse_document("# nothing yet\n", START).plain() == {}


def test_dumped_text_reads_back_in_both_yaml_versions() -> None:
    data = {"a": "1e5", "b": "no", "c": "12:30", "d": 1e-5, "e": [1, 2.0], "f": None, "σ": "Å"}
    text = dump_document(data)
    assert parse_document(text, START).plain() == data
    assert yaml.safe_load(text) == data


def doubled(levels: int, first: str, block: str) -> str:
    lines = [f"a0: &a0 {first}"]
    lines += [
        f"a{n}: &a{n} " + block.replace("*", f"*a{n - 1}") for n in range(1, levels)
    ]  # fmt: skip
    return "\n".join(lines)


BOMBS = {
    "lists": doubled(9, "[x, x, x, x, x, x, x, x, x, x]", f"[{', '.join(['*'] * 10)}]"),
    "blocks": doubled(29, "{a: 1, b: 1}", "{a: *, b: *}"),
    "long texts": doubled(2, "x" * 500_000, f"[{', '.join(['*'] * 1000)}]"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_aliases_of_aliases_are_bounded(name: str) -> None:
    start = Position("f.yaml", 1, Path())
    with pytest.raises(ConfigError, match="more than 100000 values"):
        parse_document(BOMBS[name], start)


def test_ordinary_aliases_are_written_out() -> None:
    entry = parse_document("a: &a [1, 2]\nb: [*a, *a]\n", Position("f.yaml", 1, Path()))
    assert entry.plain() == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: " + "[" * 60 + "]" * 60, "nested too deeply"),
        ("a: " + "[" * 5000, "nested too deeply"),
        (f"{'k' * 201}: 1", "a key has more than 200 characters"),
        ('a: "\\UFFFFFFFF"', "not valid YAML"),
    ],
)
def test_documents_beyond_measure(text: str, word: str) -> None:
    with pytest.raises(ConfigError, match=word) as caught:
        parse_document(text, Position("f.yaml", 1, Path()))
    assert "\n" not in str(caught.value)


def test_a_large_file_is_none_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(ConfigError, match="more than 1 MiB"):
        read_document(path, "large.yaml", tmp_path)
