"""Writing .tflite files anew without TensorFlow: what is in them, and how few bytes hold it."""
