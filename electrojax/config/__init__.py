"""The training file: reading, checking, completing and documenting it.

Nothing here imports jax until a configuration is loaded against electrojax's own tables.
"""
