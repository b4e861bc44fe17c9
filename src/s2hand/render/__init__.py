"""The differentiable renderer, with a CPU (numba) and a CUDA (nvdiffrast) backend."""
