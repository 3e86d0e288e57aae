"""What each kind of layer does to the channels that go through it; `table.RULES` lists them all."""
