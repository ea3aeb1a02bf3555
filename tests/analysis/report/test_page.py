"""The page is whole, loads nothing and shows each part only where its data are."""

import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest

from electrojax.analysis.report.page import html
from electrojax.analysis.report.report import make_report
from electrojax.errors import ConfigError
from tests.analysis.report.conftest import KINDS, cluster, dimer, write_run

LIMIT = 8 * 2**20


class Page(HTMLParser):
    """Attributes that may load something, headings, table cells and texts of a page."""

    def __init__(self, text):
        super().__init__()
        self.links, self.tags, self.open, self.headings, self.cells = [], [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in ("meta", "link", "input", "wbr", "br"):
            self.open.append(tag)
        names = ("src", "href", "srcset", "data", "action", "poster")
        self.links += [v for k, v in attributes if k in names or (k == "style" and "url" in v)]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)
        if "td" in self.open:
            self.cells.append(data)


def scripts(text):
    return re.findall(r"<script[^>]*>(.*?)</script>", text, re.S)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The page of two kinds, two seeds, with everything that a page can show."""
    folder, rng = tmp_path_factory.mktemp("runs"), np.random.default_rng(5)
    frames = [cluster(rng), cluster(rng), dimer("AB", 7.0), dimer("AB", 9.0),
              dimer("ion", 7.0, image=True), dimer("ion", 9.0, image=True)]  # fmt: skip
    for kind in ("none", "scf"):
        for seed in (1, 2):
            final = {"test/forces_rmse": 50.0 + seed + KINDS.index(kind), "scf/steps": 3.0}
            name = f"{kind}_{seed}"
            write_run(folder / name, name, kind, seed, frames=frames, finals=final)
    write_run(folder / "cut", "cut", finished=False)
    return html(make_report([folder]))


def test_every_part_is_there_and_the_page_is_well_formed(full):
    page = Page(full)
    assert page.open == []
    assert page.headings == [
        "Comparison", "Accuracy against cost", "Learning curves", "Convergence of the charges",
        "Parity", "Errors by element", "Dissociation curves", "Image-charge curves",
        "Differences of the configurations", "Not finished", "Data", "Environment",
    ]  # fmt: skip
    assert page.tags.count("input") == 2 + 4
    assert "51.50 ± 0.71" in page.cells and "ab" * 32 in page.cells


def test_nothing_is_loaded(full):
    page = Page(full)
    assert page.links == ["data:,", "#unfinished"]  # no icon is asked for either
    assert {"iframe", "object", "embed", "img"}.isdisjoint(page.tags)
    assert "@import" not in full.split("</style>")[0] and "url(" not in full.split("</style>")[0]
    assert "sourceMappingURL" not in full


def test_figures_carry_the_numbers_of_their_runs(full):
    documents = [json.loads(m) for text in scripts(full) if (m := _documents(text))]
    titles = [o["attributes"]["text"] for o in _objects(documents) if o["name"] == "Title"]
    assert {"valid/loss", "forces", "AB", "ion", "scf/steps"} <= set(titles)
    (curve,) = [d for d in documents if "valid/loss" in json.dumps(d)]
    (source,) = [o for o in _objects(curve) if o["name"] == "ColumnDataSource"]
    columns = dict(source["attributes"]["data"]["entries"])
    assert columns["run"] == [0, 1, 2, 3]
    assert columns["label"] == ["none, seed 1", "none, seed 2", "scf, seed 1", "scf, seed 2"]
    assert columns["alpha"] == [1.0, 0.45, 1.0, 0.45]
    assert [o for o in _objects(curve) if o["name"] == "BooleanFilter"]


def _documents(text):
    """The figures of a script as Bokeh's JSON, which stands there as a text."""
    found = re.search(r"const docs_json = '((?:[^'\\]|\\.)*)';", text)
    return found and re.sub(r"\\(.)", r"\1", found.group(1))


def _objects(tree):
    if isinstance(tree, dict):
        if tree.get("type") == "object":
            yield tree
        tree = list(tree.values())
    if isinstance(tree, list):
        for part in tree:
            yield from _objects(part)


def test_parts_without_data_are_absent(make_run):
    page = Page(html(make_report([make_run("a", kind="none")])))
    assert page.headings == [
        "Errors and costs", "Learning curves", "Data", "Environment",
    ]  # fmt: skip
    assert "input" not in page.tags  # nothing to toggle


def test_folders_of_older_versions_are_named(make_run, rng):
    make_run("new", seed=1, frames=[cluster(rng)])
    text = html(make_report([make_run("old", kind="qeq").parent]))
    assert "No stored predictions (from an older version, or damaged): qeq." in text


def test_texts_of_others_are_no_markup(make_run, rng):
    evil = "</script><script>alert(1)</script>"
    frames = [dimer(evil, 7.0), dimer(evil, 9.0)]
    make_run("a", frames=frames, extra={"model.solver.note": evil})
    folder = make_run("b", frames=frames, extra={"model.solver.note": "x"})
    text = html(make_report([folder.parent]))
    assert evil not in text and "<script>alert" not in text
    assert Page(text).open == []


def test_fifty_runs_stay_small(tmp_path, rng):
    frames = [cluster(rng) for _ in range(80)]
    frames += [dimer(f"system {i}", d) for i in range(20) for d in (7, 9, 11, 13, 15)]
    for index in range(50):
        kind, extra = KINDS[index % 8], {"model.density.l_max": index // 24}
        name = f"run{index}"
        write_run(tmp_path / name, name, kind, 1 + index // 8 % 3, 300, {}, frames, 0.05, extra)
    text = html(make_report([tmp_path]))
    assert 2**20 < len(text.encode()) < LIMIT


def test_without_bokeh_the_page_says_what_to_do(make_run, monkeypatch):
    for name in [n for n in sys.modules if n.split(".")[0] == "bokeh"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "bokeh", None)
    with pytest.raises(ConfigError, match=r"pip install 'electrojax\[report\]'"):
        html(make_report([make_run("a")]))
