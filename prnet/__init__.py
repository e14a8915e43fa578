"""The network that turns a face crop into vertices, its weights, and the rasteriser that turns vertices into depth."""
