"""The differentiable renderer: one meaning, a CPU (numba) and a CUDA (nvdiffrast) backend."""
