"""Schemes that weights are stored in, recognised from names, types and shapes."""
