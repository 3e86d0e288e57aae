"""Emulated arm64: QEMU in user mode with an arm64 LiteRT, and the counting of its instructions."""
