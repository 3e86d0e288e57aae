"""The block of memory that holds the activations of a .tflite file: the order and the places that take least of it."""
