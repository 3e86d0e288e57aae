"""What the compilers of accelerators will do with an artifact, from what is published of them."""
