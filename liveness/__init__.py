"""A shipped liveness model: what its folder holds, how that is checked, its score. Runs on onnxruntime alone."""
