"""Data: files, labels and recipes become systems; no physics here."""
