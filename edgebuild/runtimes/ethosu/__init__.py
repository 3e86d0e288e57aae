"""Arm's Ethos-U NPUs through Vela, their compiler."""
