"""Sweeps: many training runs from one file, run on Dask and compared.

What runs on the workers (`state`, `attempt`, `bound`) imports no jax.
"""
