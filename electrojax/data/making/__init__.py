"""Making data: recipes, sampling and labelling."""
