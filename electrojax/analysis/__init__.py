"""Plots and analyses of what a model predicts."""
