"""The package for firmware developers: the network as C++ source for TensorFlow Lite Micro. Pure: no file is opened."""
