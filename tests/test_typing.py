"""Structs as pytrees: what JAX tells apart, and what it carries from one side to the other."""

import jax
import jax.numpy as jnp
import pytest

from electrojax.typing import Array, static, struct


@struct
class Sum:
    """Two numbers to be added."""

    a: Array
    b: Array
    scale: int = static(default=1)

    def result(self):
        return self.scale * (self.a + self.b)


@struct
class Difference(Sum):
    """The same fields with another meaning."""

    def result(self):
        return self.scale * (self.a - self.b)


@struct
class Renamed:
    """As many fields."""

    x: Array
    y: Array
    z: int = static(default=1)


def structure(*values):
    return jax.tree.structure(values)


@pytest.mark.parametrize("other", [Difference, Renamed])
def test_two_structs_with_as_many_fields_are_different_trees(other):
    # Compiled programs are found by this comparison.
    for wrap in (lambda x: x, lambda x: {"inner": (x, 3.0)}):
        one, two = structure(wrap(Sum(1.0, 2.0))), structure(wrap(other(1.0, 2.0)))
        assert one != two
        assert one == structure(wrap(Sum(3.0, 4.0)))
        assert one != structure(wrap(Sum(1.0, 2.0, 5)))


def test_a_struct_goes_through_jit_and_back():
    @jax.jit
    def twice(s):
        return jax.tree.map(lambda x: 2 * x, s), s.result()

    doubled, result = twice(Sum(1.0, 2.0, 3))
    assert (doubled.scale, doubled.result(), result) == (3, 18.0, 9.0)
    assert twice(Difference(1.0, 2.0, 3))[1] == -3.0
    batch = jax.vmap(Sum)(jnp.arange(3.0), jnp.ones(3))
    assert jax.vmap(lambda s: s.result())(batch).tolist() == [1.0, 2.0, 3.0]


def test_leaves_have_the_names_of_the_fields():
    leaves, _ = jax.tree_util.tree_flatten_with_path({"s": Renamed(1.0, (2.0, 3.0))})
    assert [jax.tree_util.keystr(path) for path, _ in leaves] == [
        "['s'].x",
        "['s'].y[0]",
        "['s'].y[1]",
    ]
