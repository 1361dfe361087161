"""Broken and odd models, a file for each kind of trouble, and what is to be found in each."""
