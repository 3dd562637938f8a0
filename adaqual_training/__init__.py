"""This package trains the networks. It needs the extra ``adaqual[train]`` and comes with a source checkout only."""
