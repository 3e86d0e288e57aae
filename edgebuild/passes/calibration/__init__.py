"""The grids of int8 chosen on calibration samples: ranges of activations, rounding of weights, correction of biases."""
