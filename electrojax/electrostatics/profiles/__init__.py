"""Potential and density on lines, planes and grids."""
