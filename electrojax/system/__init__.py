"""The atoms: structures, batches, neighbour lists and geometry. No physics, no parameters."""
