"""The irreps of multipoles that are read out."""


def irreps(l_max: int) -> str:
    """Returns one irrep of natural parity per order, such as ``1x0e+1x1o`` for l_max 1."""
    return "+".join(f"1x{l}{'eo'[l % 2]}" for l in range(l_max + 1))
