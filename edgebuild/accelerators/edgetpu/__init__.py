"""The Edge TPU of Coral: its compiler's choice of operators, predicted or read from its log."""
