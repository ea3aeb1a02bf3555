"""Models of other codes: mace-torch and PolarMACE as potentials of ours."""
