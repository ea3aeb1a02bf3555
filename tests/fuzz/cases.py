"""Inputs made from good ones by a seeded generator: what users break, and what attackers write."""

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import ase
import ase.io
import h5py
import numpy as np
import yaml
from flax.traverse_util import unflatten_dict

from electrojax.data.conversion import convert
from electrojax.models import bundle
from electrojax.models.potential import assemble
from electrojax.system.types import Statistics

RUN = {
    "run": {"name": "fuzz", "seed": 1},
    "data": {
        "train": {"path": "data.xyz"},
        "valid": {"path": "data.xyz", "fraction": 0.3},
        "batching": {"graphs": 4, "buckets": 2},
        "atom_energies": {"given": {"H": -13.6, "O": -430.0}},
    },
    "model": {
        "backbone": {"kind": "light", "cutoff": 3.0, "channels": 4, "layers": 1},
        "density": {"l_max": 1, "width": 1.5},
        "coulomb": {"boundary": "auto", "accuracy": 1e-4},
        "solver": {"kind": "qeq", "tolerance": 1e-5, "max_steps": 20},
    },
    "train": {
        "stages": [{"name": "one", "epochs": 2, "loss": {"energy": 1.0, "forces": 10.0}}],
        "optimizer": {"name": "adam", "clip": 10.0},
        "ema": 0.9,
        "early_stop": {"metric": "valid/loss", "patience": 3},
        "checkpoint": {"every_epochs": 5, "every_minutes": 2.0},
    },
    "loggers": ["jsonl"],
}
MD = {
    "run": {"name": "fuzz"},
    "model": "model.ejx",
    "start": "data.xyz",
    "ensemble": {"kind": "nvt_langevin", "temperature": 300.0, "friction": 1.0},
    "timestep": 0.5,
    "steps": 4,
    "neighbors": {"skin": 0.5, "capacity": 1.3},
    "write": {"every": 2, "quantities": ["positions", "energy"]},
    "seed": 3,
}
SWEEP = {
    "sweep": {"name": "fuzz", "base": "run.yaml", "mode": "grid"},
    "axes": {"run.seed": [1, 2], "model.density.width": [1.0, 1.5]},
    "exclude": [{"run.seed": 1, "model.density.width": 1.0}],
    "report": {"metrics": ["valid/forces_rmse"], "mean_over": "run.seed"},
    "executor": {"kind": "local", "workers": 1, "dashboard": "127.0.0.1:0"},
}

SCALARS: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 7, 119, 10**6, 2**31, 2**63 - 1, 2**63, 2**64, 10**30, 10**399,
    0.0, -0.5, 0.5, 5e-324, 1e-300, 1e-12, 1e6, 1e39, 1e300, float("nan"), float("inf"),
    "", " ", ".", "..", "/", "a", "a\nb", "a\tb", "\x1b[31m", "\u202e", "\x00", "-rf", "~", "=1+1",
    "<script>", "n" * 300, "/".join(["p" * 250] * 20), "data.xyz", "model.ejx", "run.yaml",
    "builtin:ion_water", "builtin:nothing", "qeq", "scf", "mace", "light", "valid/loss", "1_0",
    "٣", "1e400", "nan", "0x10", "H", "Uuo", [], {}, [1], [[]], {"kind": "scf"}, {"a": {"b": 1}},
    [0, -1], [1.0, float("nan"), 2.0], ["a"] * 50, "{", "[1, 2", "!!python/object:os.system x",
)  # fmt: skip
"""What is put in place of a value."""

FACTORS = (0, 0.1, 0.5, 2, 10, 1000, -1)
"""By what a number is multiplied, which often leaves a sensible one."""

KINDS = ("none", "local", "split", "latent", "qeq", "functional", "scf", "non_scf")

SNIPPETS = (
    b"[" * 2000, b"{" * 50, b"&a [*a]", b"*a", b"!!binary x", b"\xff\xfe", b"\x00", b"\xef\xbb\xbf",
    b"include: [.]\n", b"include: [run.yaml]\n", b"---\n", b"...\n", b"? ", b"a: b: c\n", b"\t",
    b"x: &x [1,1]\ny: &y [*x,*x]\n", b"9" * 500, b"k" * 3000, b"%YAML 9.9\n", b"\r", b"#", b"'",
    b"nan", b"inf", b"1e999", b"-1", b"99999999", b"T T F", b"Lattice=\"1 0 0 0 1 0 0 0 0\"",
    b"Properties=species:S:1:pos:R:99999999", b"Properties=Z:I:1:pos:R:3", b"REF_energy=_JSON [[[[",
    b"pbc=\"f f f\"", b"\xe2\x80\xae", b"0 0 0", b"1_0", b"\xd9\xa3",
)  # fmt: skip
"""What is put into a text."""


@dataclass(frozen=True)
class Case:
    """Files, and the command that reads them.

    Attributes:
        arguments: of the command line; a first word that is no verb names a reader.
        files: content by name.
        target: a file that the command writes, if it ends well.
    """

    arguments: tuple[str, ...]
    files: dict[str, bytes]
    target: str = ""


@dataclass(frozen=True)
class Originals:
    """Good files, made once."""

    xyz: bytes
    hdf5: bytes
    model: bytes

    @classmethod
    def made(cls, folder: Path) -> "Originals":
        """Returns four structures as extxyz and HDF5, and a model that knows their elements."""
        random = np.random.default_rng(0)
        frames = []
        for number in range(4):
            water = ase.Atoms("OH2", [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]])
            water.positions += random.normal(scale=0.05, size=(3, 3))
            if number == 3:
                water.set_cell(np.eye(3) * 8)
                water.set_pbc(True)
                water.info["REF_stress"] = np.eye(3) * 0.01
            water.info |= {"REF_energy": -450.0 + 0.1 * number, "total_charge": 0.0}
            water.arrays["REF_forces"] = random.normal(size=(3, 3))
            water.arrays["REF_charges"] = np.array([-0.6, 0.3, 0.3])
            frames.append(water)
        ase.io.write(folder / "good.xyz", frames, format="extxyz")
        convert(folder / "good.xyz", folder / "good.h5", {}, False)
        bundle.save(_model(), folder / "good.ejx", {"run": "fuzz"})
        return cls(*((folder / f"good.{suffix}").read_bytes() for suffix in ("xyz", "h5", "ejx")))


def _model() -> Any:
    config = json.loads(json.dumps(RUN["model"]))
    statistics = Statistics((1, 8), (-13.6, -430.0), 2.0, 1.0, 0.0)
    bare = assemble(config, statistics, "float32")
    random = np.random.default_rng(1)
    arrays = {
        name: random.normal(size=shape).astype(np.float32)
        for name, shape in bare.parameter_shapes().items()
    }
    return assemble(config, statistics, "float32", unflatten_dict(arrays, sep="/"))


def make_case(seed: int, index: int, good: Originals) -> Case:
    """Returns the case of a seed and an index, always the same one."""
    random = Random(f"{seed} {index}")
    makers: tuple[tuple[Callable[[Random, Originals], Case], int], ...] = (
        (_training, 5), (_training_text, 2), (_md, 2), (_sweep, 2), (_xyz, 4), (_hdf5_bytes, 1),
        (_hdf5_sets, 3), (_model_bytes, 2), (_manifest, 3), (_arrays, 1), (_override, 2),
    )  # fmt: skip
    maker = random.choices([m for m, _ in makers], [weight for _, weight in makers])[0]
    return maker(random, good)


def _training(random: Random, good: Originals) -> Case:
    plain = json.loads(json.dumps(RUN))
    if random.random() < 0.6:
        plain["model"]["solver"] = {"kind": random.choice(KINDS)}
        plain["model"]["density"]["l_max"] = random.choice([0, 1])
        plain["model"]["backbone"] = {"kind": random.choice(["light", "mace"]), "cutoff": 3.0}
    return _checked(random, good, _yaml(_changed(random, plain)))


def _training_text(random: Random, good: Originals) -> Case:
    return _checked(random, good, _damaged(random, _yaml(RUN)))


def _checked(random: Random, good: Originals, text: bytes) -> Case:
    data = _damaged(random, good.xyz) if random.random() < 0.1 else good.xyz
    return Case(("check", "run.yaml"), {"run.yaml": text, "data.xyz": data})


def _override(random: Random, good: Originals) -> Case:
    key = random.choice(
        ["run.seed", "model.solver", "train.stages.0.loss", "data.train.path", "a.b"]
    )
    value = json.dumps(random.choice(SCALARS), ensure_ascii=False).replace("\\u0000", "\\0")
    option = random.choice([f"{key}={value}", f"{key}.0={value}", f"={value}", f"{key}", f"{key}="])
    files = {"run.yaml": _yaml(RUN), "data.xyz": good.xyz}
    return Case(("check", "run.yaml", "--set", option), files)


def _md(random: Random, good: Originals) -> Case:
    text = _yaml(_changed(random, MD)) if random.random() < 0.8 else _damaged(random, _yaml(MD))
    return Case(("load_md", "md.yaml"), {"md.yaml": text})


def _sweep(random: Random, good: Originals) -> Case:
    plain = _changed(random, SWEEP)
    text = _yaml(plain) if random.random() < 0.8 else _damaged(random, _yaml(SWEEP))
    files = {"sweep.yaml": text, "run.yaml": _yaml(RUN), "data.xyz": good.xyz}
    return Case(("load_sweep", "sweep.yaml"), files)


def _xyz(random: Random, good: Originals) -> Case:
    content = _tokens(random, good.xyz) if random.random() < 0.6 else _damaged(random, good.xyz)
    return _read(random, "data.xyz", content)


def _hdf5_bytes(random: Random, good: Originals) -> Case:
    return _read(random, "data.h5", _flipped(random, good.hdf5))


def _hdf5_sets(random: Random, good: Originals) -> Case:
    """One data set of the file replaced by one of another type or shape."""
    buffer = io.BytesIO(good.hdf5)
    with h5py.File(buffer, "r+") as file:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if hasattr(item, "shape") else None)
        name = random.choice(names)
        before = file[name][()]
        del file[name]
        replaced = random.choice([
            lambda: np.full(np.shape(before), np.nan),
            lambda: np.asarray(before).ravel()[:-1],
            lambda: np.asarray(before)[None],
            lambda: np.full(np.shape(before), random.choice([-1, 0, 119, 10**9])),
            lambda: np.full(np.shape(before), 1e300),
            lambda: np.array([b"text"] * 3),
            lambda: np.float64(random.choice([0.0, -1.0, np.inf])),
            lambda: np.zeros((0, 3)),
            lambda: np.array([True, False]),
            lambda: np.zeros(2, dtype=[("a", "f4")]),
        ])()  # fmt: skip
        if random.random() < 0.9:
            file[name] = replaced
        if random.random() < 0.2:
            file.create_dataset("further", shape=(10**10,), dtype="f8", chunks=(1000,))
    return _read(random, "data.h5", buffer.getvalue())


def _read(random: Random, name: str, content: bytes) -> Case:
    if random.random() < 0.5:
        return Case(("data", "inspect", name), {name: content})
    target = random.choice(["out.xyz", "out.h5", "out.xyz.gz"])
    return Case(("data", "convert", name, target), {name: content}, target)


def _model_bytes(random: Random, good: Originals) -> Case:
    return _model_case(random, _flipped(random, good.model))


def _manifest(random: Random, good: Originals) -> Case:
    members = _members(good.model)
    if random.random() < 0.8:
        manifest = _changed(random, json.loads(members["manifest.json"]))
        members["manifest.json"] = json.dumps(manifest).encode()
    else:
        members["manifest.json"] = _damaged(random, members["manifest.json"])
    return _model_case(random, _zipped(members))


def _arrays(random: Random, good: Originals) -> Case:
    members = _members(good.model)
    name = random.choice([name for name in members if name.endswith(".npy")])
    if random.random() < 0.5:
        members[name] = _damaged(random, members[name])
    else:
        array = np.load(io.BytesIO(members[name]))
        changed = random.choice([
            array * np.nan, array.astype("c8"), array.astype("f8"), array[..., :0], array[None],
            array.astype("U3"), array.ravel(), np.float32(3e38) * np.ones_like(array),
        ])  # fmt: skip
        buffer = io.BytesIO()
        np.save(buffer, changed)
        members[name] = buffer.getvalue()
    return _model_case(random, _zipped(members))


def _model_case(random: Random, content: bytes) -> Case:
    verb = random.choice(
        [("info", "model.ejx"), ("info", "model.ejx", "--json"), ("load", "model.ejx")]
    )
    return Case(verb, {"model.ejx": content})


def _members(content: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def _zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _yaml(plain: Any) -> bytes:
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True).encode("utf-8", "replace")


def _changed(random: Random, plain: Any) -> Any:
    """A copy in which some values are others, are gone or have new neighbours."""
    copy = json.loads(json.dumps(plain))
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        holder, key = random.choice(list(_places(copy)))
        action = random.random()
        if action < 0.4 and isinstance(holder[key], int | float):
            holder[key] = type(holder[key])(holder[key] * random.choice(FACTORS))
        elif action < 0.8:
            holder[key] = json.loads(json.dumps(random.choice(SCALARS)))
        elif action < 0.9 and isinstance(holder, dict):
            del holder[key]
        elif isinstance(holder, dict):
            new = random.choice([str(s) for s in SCALARS if not isinstance(s, list | dict)])
            holder[new] = random.choice(SCALARS)
    return copy


def _places(plain: Any) -> Any:
    """Yields every block or list with its keys, at all depths."""
    keys = list(plain) if isinstance(plain, dict) else range(len(plain))
    for key in keys:
        yield plain, key
        if isinstance(plain[key], dict | list):
            yield from _places(plain[key])


def _damaged(random: Random, content: bytes) -> bytes:
    """A text with pieces put in, cut out or flipped."""
    for _ in range(random.choice([1, 1, 2, 4])):
        place = random.randrange(len(content) + 1)
        match random.randrange(4):
            case 0:
                content = content[:place] + random.choice(SNIPPETS) + content[place:]
            case 1:
                content = content[:place] + content[place + random.randrange(40) :]
            case 2:
                content = content[:place]
            case _:
                content = _flipped(random, content)
    return content


def _tokens(random: Random, content: bytes) -> bytes:
    """A text with one of its words replaced by another."""
    lines = content.split(b"\n")
    row = random.randrange(len(lines))
    words = lines[row].split(b" ")
    new = random.choice([*SNIPPETS, *(str(s).encode("utf-8", "replace") for s in SCALARS)])
    words[random.randrange(len(words))] = new
    lines[row] = b" ".join(words)
    return b"\n".join(lines)


def _flipped(random: Random, content: bytes) -> bytes:
    flipped = bytearray(content)
    for _ in range(random.choice([1, 2, 8]) if flipped else 0):
        flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
    return bytes(
        flipped[: random.randrange(len(flipped) + 1)] if random.random() < 0.2 else flipped
    )
