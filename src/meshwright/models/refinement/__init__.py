"""Surface and cameras fitted to the views through a differentiable rasteriser; models share it."""
