"""Includes, merging and --set."""

from pathlib import Path

import pytest

from electrojax.config.document import Entry, Position, parse_document
from electrojax.config.layers import (
    ConfigFile,
    apply_overrides,
    find_beside,
    find_file,
    merge,
    read_layers,
)
from electrojax.errors import ConfigError

START = Position("a.yaml", 1, Path("/"))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(**texts: str) -> None:
    for name, text in texts.items():
        path = Path(f"{name.replace('__', '/')}.yaml")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def layered(name: str = "run.yaml", *overrides: str) -> Entry:
    return read_layers(find_file(name), overrides)[0]


def refused(name: str = "run.yaml", *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        layered(name, *overrides)
    return str(caught.value)


def test_later_includes_win_and_the_file_wins_over_both() -> None:
    write(
        one="a: 1\nb: 1\nc: 1\n",
        two="b: 2\nc: 2\n",
        run="include: [one, two.yaml]\nc: 3\n",
    )
    root = layered()
    assert root.plain() == {"a": 1, "b": 2, "c": 3}
    assert str(root.nearest(("b",)).position) == "two.yaml:1"
    assert str(root.nearest(("c",)).position) == "run.yaml:2"


def test_includes_are_found_beside_the_file_that_names_them() -> None:
    write(sub__run="include: [base]\n", sub__base="x: 1\n", base="x: 2\n")
    root = layered("sub/run.yaml")
    assert root.plain() == {"x": 1}
    assert str(root.nearest(("x",)).position) == "sub/base.yaml:1"


def test_shipped_configurations_are_found_after_those_beside() -> None:
    write(run="include: [solver/none]\n")
    root = layered()
    assert root.plain()["model"]["solver"]["kind"] == "none"
    assert (
        root.nearest(("model", "solver")).position.source == "electrojax/configs/solver/none.yaml"
    )
    write(solver__none="mine: 1\n")
    assert layered().plain() == {"mine": 1}


def test_a_cycle_is_refused_with_its_chain() -> None:
    write(run="include: [one]\n", one="include: [two]\n", two="\ninclude:\n  - run\n")
    message = refused()
    assert "run.yaml -> one.yaml -> two.yaml -> run.yaml" in message
    assert message.startswith("two.yaml:3")


def test_the_same_file_twice_is_no_cycle() -> None:
    write(
        run="include: [one, two]\n", one="include: [base]\n", two="include: [base]\n", base="x: 1"
    )
    assert layered().plain() == {"x": 1}


def test_a_missing_include_names_the_line_and_a_near_name() -> None:
    write(run="\ninclude:\n  - solver/locl\n")
    message = refused()
    assert message.startswith("run.yaml:3  include   no file solver/locl beside run.yaml")
    assert 'did you mean "solver/local"?' in message


@pytest.mark.parametrize("text", ["include: base\n", "include: [1]\n", "include: {a: 1}\n"])
def test_include_must_be_a_list_of_names(text: str) -> None:
    write(run=text)
    assert refused().startswith("run.yaml:1  include   must be a list of file names")


def test_a_missing_file_says_how_to_start_one() -> None:
    assert "no such file" in refused("gone.yaml")
    assert "electrojax init -o gone.yaml" in refused("gone.yaml")
    Path("folder.yaml").mkdir()
    assert "is a folder" in refused("folder.yaml")


def test_a_shipped_file_is_found_by_its_name_in_the_repository() -> None:
    assert find_file("configs/quickstart.yaml").source == "electrojax/configs/quickstart.yaml"
    write(configs__quickstart="x: 1\n")
    assert find_file("configs/quickstart.yaml").path == Path("configs/quickstart.yaml")


def merged(earlier: str, later: str) -> object:
    return merge(parse_document(earlier, START), parse_document(later, START)).plain()


def test_blocks_merge_and_lists_are_replaced() -> None:
    assert merged("a: {x: 1, y: [1, 2]}", "a: {y: [3]}") == {"a": {"x": 1, "y": [3]}}
    assert merged("a: {x: 1}", "a: 2") == {"a": 2}


def test_a_block_of_another_kind_drops_the_leftovers() -> None:
    assert merged("s: {kind: scf, mixing: a}", "s: {kind: none}") == {"s": {"kind": "none"}}
    same = {"s": {"kind": "scf", "mixing": "a", "tolerance": 1}}
    assert merged("s: {kind: scf, mixing: a}", "s: {kind: scf, tolerance: 1}") == same
    assert merged("s: {kind: scf, mixing: a}", "s: {tolerance: 1}") == same


STAGES = "stages:\n  - {epochs: 1, loss: {forces: 1}}\n  - {epochs: 2}\n"


def overridden(text: str, *overrides: str) -> Entry:
    return apply_overrides(parse_document(text, START), overrides)


def test_set_reaches_into_lists_by_index() -> None:
    root = overridden(STAGES, "stages.1.epochs=5", "stages.0.loss.forces=1e-2")
    assert root.plain() == {"stages": [{"epochs": 1, "loss": {"forces": 0.01}}, {"epochs": 5}]}
    assert str(root.nearest(("stages", 1, "epochs")).position) == "--set #1"
    assert str(root.nearest(("stages", 0, "epochs")).position) == "a.yaml:2"


def test_set_reads_lists_blocks_and_quoted_text() -> None:
    root = overridden("a: 1\n", "b=[1, 2]", "c.d={x: 1}", "e='1'", "f=a=b")
    assert root.plain() == {"a": 1, "b": [1, 2], "c": {"d": {"x": 1}}, "e": "1", "f": "a=b"}


def test_set_of_a_kind_drops_leftovers_but_no_option_set_beside_it() -> None:
    text = "s: {kind: scf, mixing: a}"
    root = overridden(text, "s.control=total", "s.kind=local")
    assert root.plain() == {"s": {"kind": "local", "control": "total"}}


@pytest.mark.parametrize(
    ("override", "needles"),
    [
        ("stages.2.epochs=1", ["--set #1  stages.2.epochs", "list of 2 elements", "a.yaml:1"]),
        ("stages.-1.epochs=1", ["stages is a list of 2 elements"]),
        ("stages.first.epochs=1", ["there is no first"]),
        ("stages.0.epochs.x=1", ["stages.0.epochs is a value, not a block", "a.yaml:2"]),
        ("stages", ["not of the form section.key=value"]),
        ("a..b=1", ["not of the form section.key=value"]),
        ("=1", ["not of the form section.key=value"]),
        ("a.b=", ["--set #1  a.b", "no value"]),
        ("a=[1", ["--set #1", "not valid YAML"]),
        ("a=*.xyz", ["--set #1", "not valid YAML"]),
    ],
)
def test_bad_overrides_are_refused(override: str, needles: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        overridden(STAGES, override)
    assert all(needle in str(caught.value) for needle in needles), str(caught.value)


def test_a_missing_file_can_be_started_and_a_folder_cannot(tmp_path):
    with pytest.raises(ConfigError, match=r"absent.yaml  no such file; `electrojax init -o absent"):
        find_file("absent.yaml")
    for name in (".", "..", str(tmp_path)):
        with pytest.raises(ConfigError, match="is a folder; name a YAML file") as caught:
            find_file(name)
        assert "init" not in str(caught.value)


@pytest.mark.parametrize("name", [".", "", "./", "..", "n" * 300, "a\x00b", "/" * 5000])
def test_names_that_no_file_has_are_missing_files(tmp_path: Path, name: str) -> None:
    at = Entry(name, Position("run.yaml", 1, tmp_path))
    with pytest.raises(ConfigError, match="no file") as caught:
        find_beside(at, ConfigFile(tmp_path / "run.yaml", "run.yaml"), "include")
    assert len(str(caught.value)) < 1000
    with pytest.raises(ConfigError):
        find_file(name)


def test_includes_of_includes_are_bounded(tmp_path: Path) -> None:
    """Thirty files that each include the next one twice would be read 2^30 times."""
    for number in range(30):
        (tmp_path / f"{number}.yaml").write_text(
            f"include: [{number + 1}.yaml, {number + 1}.yaml]\n"
        )
    (tmp_path / "30.yaml").write_text("run: {seed: 1}\n")
    with pytest.raises(ConfigError, match="includes more than"):
        read_layers(ConfigFile(tmp_path / "0.yaml", "0.yaml"))
