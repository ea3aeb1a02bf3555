"""Small graphs, backbones and rotations for the tests of the learnables."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import ortho_group

from electrojax.nn.base import BACKBONES
from electrojax.system.batching import Capacity, build_sample, capacity_for, collate
from electrojax.system.geometry import edge_vectors, harmonic_order
from electrojax.system.types import Frame, Statistics, System

CUTOFF = 3.5
STATISTICS = Statistics(numbers=(1, 8), atomic_energies=(0.0, 0.0), average_neighbors=3.0)
VARIANTS = {
    "mace": ("mace", {"channels": 4, "correlation": 3, "radial_hidden": (8,)}),
    "mace-l2": ("mace", {"channels": 3, "correlation": 2, "hidden_l_max": 2, "radial_hidden": ()}),
    "light": ("light", {"channels": 6}),
    "light-l2": ("light", {"channels": 5, "l_max": 2}),
}


def backbone(variant: str):
    """Returns a small backbone by the name of its variant."""
    kind, options = VARIANTS[variant]
    runtime = {"num_species": 2, "average_neighbors": STATISTICS.average_neighbors}
    return BACKBONES[kind](**runtime, cutoff=CUTOFF, **options)


def molecule(positions: np.ndarray, numbers: np.ndarray | None = None) -> Frame:
    """Returns an open structure of O and H."""
    if numbers is None:
        numbers = np.resize([8, 1, 1], len(positions))
    return Frame(numbers, np.asarray(positions, float), np.zeros((3, 3)), (False,) * 3)


def graph(*frames: Frame, capacity: Capacity | None = None, dtype=np.float64) -> System:
    """Returns structures as one batch, exactly fitting or padded."""
    samples = [build_sample(frame, CUTOFF) for frame in frames]
    return collate(samples, capacity or capacity_for(samples), dtype).system


def features(variant: str, params, system: System):
    """Returns the layers of a backbone's features as e3nn arrays."""
    return _compiled(variant)(params, system, species(system)).layers


@functools.cache
def parameters(variant: str, dtype=np.float64):
    """Returns random parameters of order one, drawn without compiling anything."""
    system = graph(molecule([[0.0, 0, 0], [0, 0, 1.0]]), dtype=dtype)
    init = functools.partial(backbone(variant).init, jax.random.key(0))
    shapes = jax.eval_shape(init, system, species(system), vectors(system))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(x.dtype), shapes)


def species(system: System):
    """Returns the species index of every atom, −1 on padding."""
    return jnp.asarray(STATISTICS.species(system.numbers))


def vectors(system: System):
    """Returns edge vectors as a backbone receives them."""
    return harmonic_order(edge_vectors(system))


def rotation(seed: int) -> np.ndarray:
    """Returns a random orthogonal matrix; odd seeds invert as well."""
    matrix = ortho_group.rvs(3, random_state=seed)
    return matrix * np.sign(np.linalg.det(matrix)) * (-1) ** seed


def real_harmonics(xyz: np.ndarray) -> list[np.ndarray]:
    """Returns the closed forms of l = 0, 1, 2 for unit vectors [..., 3], each [..., 2l + 1].

    Component normalised, m = −l ... l: (y, z, x) and (xy, yz, 3z² − r², xz, x² − y²).
    """
    x, y, z = np.moveaxis(xyz, -1, 0)
    root = np.sqrt(3)
    zero, two = (3 * z**2 - 1) / 2, root * (x**2 - y**2) / 2
    second = [root * x * y, root * y * z, zero, root * x * z, two]
    first = root * np.stack([y, z, x], axis=-1)
    return [np.ones((*x.shape, 1)), first, np.sqrt(5) * np.stack(second, axis=-1)]


def representation(matrix: np.ndarray, degree: int) -> np.ndarray:
    """Returns D with Y(matrix r) = D Y(r), from the closed forms of the harmonics."""
    points = np.random.default_rng(0).normal(size=(20, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    before, after = real_harmonics(points)[degree], real_harmonics(points @ matrix.T)[degree]
    return np.linalg.lstsq(before, after, rcond=None)[0].T


@functools.cache
def _compiled(variant: str):
    module = backbone(variant)
    return jax.jit(lambda params, s, z: module.apply(params, s, z, vectors(s)))
