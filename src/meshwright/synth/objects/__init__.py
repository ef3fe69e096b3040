"""The catalogue of procedural objects."""

from __future__ import annotations

from meshwright.errors import OptionError
from meshwright.synth.objects import creatures, goods, machines, vessels
from meshwright.synth.solids import SynthObject

__all__ = ["get_object", "list_objects"]

CATALOGUE = {
    build.__name__: build
    for build in (
        vessels.mug,
        vessels.teapot,
        vessels.vase,
        machines.robot,
        machines.toy_car,
        machines.gear,
        goods.chair,
        goods.sneaker,
        goods.guitar,
        goods.spectacles,
        creatures.bird,
        creatures.toadstool,
    )
}


def list_objects() -> tuple[str, ...]:
    """Names that `get_object` knows."""
    return tuple(CATALOGUE)


def get_object(name: str) -> SynthObject:
    """One object of the catalogue.

    Raises:
        OptionError: There is no such object.
    """
    if name not in CATALOGUE:
        raise OptionError(f"There is no object {name!r}.", hint=f"Choose from {', '.join(CATALOGUE)}.")
    return CATALOGUE[name]()
