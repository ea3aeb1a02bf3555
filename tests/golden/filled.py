"""Weights that need no file: pseudo-random numbers of a name, the same with any NumPy."""

import zlib

import numpy as np


def uniform(name: str, count: int) -> np.ndarray:
    """Returns numbers of mean zero and variance one, uniform within ±√3, that a name stands for.

    Bits are mixed by splitmix64 (Steele et al., OOPSLA 2014, 10.1145/2660193.2660195).
    """
    with np.errstate(over="ignore"):
        x = np.arange(1, count + 1, dtype=np.uint64) + np.uint64(zlib.crc32(name.encode()) << 20)
        x = x * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    return 3**0.5 * ((x >> np.uint64(11)).astype(np.float64) / 2.0**52 - 1.0)
