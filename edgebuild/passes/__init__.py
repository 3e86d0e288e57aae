"""Transformations of networks: the only home of TensorFlow and Keras, reached through a child process."""
