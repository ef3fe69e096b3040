"""Generated objects brought into the frame of the views."""

from meshwright.models.reconviagen.placing.place import PlaceConfig, Placement, place

__all__ = ["PlaceConfig", "Placement", "place"]
