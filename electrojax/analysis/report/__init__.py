"""Runs side by side: what they measured, where they differ, as one page or as tables."""
