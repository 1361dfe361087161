"""A step's list of uses: what the model records, told from names."""

import inspect

from inferno.backend import Backend
from inferno.models.listing import Listing


def test_the_listing_takes_every_call_of_the_backend():
    calls = {
        name: list(inspect.signature(call).parameters)
        for name, call in vars(Backend).items()
        if inspect.isfunction(call) and not name.startswith("_")
    }
    assert len(calls) > 10
    for name, parameters in calls.items():
        assert list(inspect.signature(getattr(Listing, name)).parameters) == parameters, name
