"""Published checkpoints: how they are told apart, read and checked."""
