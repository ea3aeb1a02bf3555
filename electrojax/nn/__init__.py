"""The learnables: equivariant backbones and readouts. No electrostatics."""
