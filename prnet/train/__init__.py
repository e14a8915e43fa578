"""Training of PRNet: on faces whose mesh is known, from a teacher or from a renderer (Feng et al. 2018, section 3)."""
