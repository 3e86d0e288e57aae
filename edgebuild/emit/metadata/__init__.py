"""TFLite metadata: what mobile SDKs read from an artifact beside its graph."""
