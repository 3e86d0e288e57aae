"""What differs between Keras 3 and tf_keras: the configs of layers, activations, operations that are no layers."""
