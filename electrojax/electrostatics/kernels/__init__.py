"""Closed forms and tables that the engines are made of."""
