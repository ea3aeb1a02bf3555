"""Initial weights that are cheap to compile.

XLA spends about 0.3 s of CPU time on every threefry draw it compiles, 10 s for a model of 40
parameters. Weights need good statistics, not cryptography, so they come from a counter hash.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from electrojax.typing import Array


def normal(scale: float) -> Callable[[Array, Sequence[int], Any], Array]:
    """Returns an initializer that draws from N(0, scale²).

    Args:
        scale: standard deviation.
    """

    def draw(key: Array, shape: Sequence[int], dtype: Any) -> Array:
        counter = jnp.arange(math.prod(shape), dtype=jnp.uint32)
        for word in _words(key):
            counter = _hashed(counter ^ word)
        uniform = ((counter >> 9).astype(jnp.float32) + 0.5) / 2**22 - 1.0
        values = 2**0.5 * jax.lax.erf_inv(uniform)
        return scale * values.reshape(shape).astype(dtype)

    return draw


def _words(key: Array) -> list[Array]:
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    data = jax.random.key_data(key) if typed else key
    return list(data.ravel())


def _hashed(x: Array) -> Array:
    """Mixes 32 bits: lowbias32 of C. Wellons, "Prospecting for Hash Functions" (2018)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
