"""Stage two of nvdiffrec: materials in textures, and the light, fitted to the views on a mesh that stays as it is."""
