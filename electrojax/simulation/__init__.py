"""A model that moves: jax-md force field, ASE calculator and the md verb."""
