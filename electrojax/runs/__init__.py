"""The jobs behind the verbs: train, evaluate, simulate, check. This room knows every other."""
