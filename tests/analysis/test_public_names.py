"""``ej.analysis.NAME`` is the function of that name."""

import pytest

import electrojax as ej


def test_every_public_name_loads():
    for name in ej.analysis.__all__:
        value = getattr(ej.analysis, name)
        assert callable(value) and value.__name__ == name and value.__doc__


def test_another_name_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ej.analysis.nothing
