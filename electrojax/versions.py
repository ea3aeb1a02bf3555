"""Refusal of jaxlib versions that compute wrong numbers, without importing jax (which is slow)."""

from importlib.metadata import PackageNotFoundError, version

BAD_VERSIONS = frozenset({"0.10.2", "0.11.0", "0.11.1"})
"""jax/jaxlib versions whose CPU backend miscompiles a batched product (jax issue 39103)."""


def check_versions(packages: tuple[str, ...] = ("jax", "jaxlib")) -> None:
    """Refuses to go on with a jax or jaxlib that is known to compute wrong numbers.

    Args:
        packages: the distributions to look at.

    Raises:
        ImportError: naming the version found and the command that mends it.
    """
    for package in packages:
        try:
            found = version(package)
        except PackageNotFoundError:
            raise ImportError(
                f"electrojax needs {package}, which is not installed; run: pip install electrojax"
            ) from None
        if found in BAD_VERSIONS:
            raise ImportError(
                f"{package} {found} computes wrong numbers silently on CPU (jax issue 39103) and "
                f'electrojax refuses to run on it; run: pip install "jax==0.10.1" "jaxlib==0.10.1"'
            )
