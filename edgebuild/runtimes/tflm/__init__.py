"""TensorFlow Lite Micro on this machine: artifacts run on the kernels that a microcontroller runs."""
