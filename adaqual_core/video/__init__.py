"""This package restores clips: it joins the frames of a shot so that they do not flicker, and reads and writes clip files.

``memory`` finds cuts and averages over a window of frames what decides brightness and colour; ``clip`` restores frames in their
order; ``container``, ``pixels`` and ``segments`` read and write files through PyAV (the extra ``adaqual[video]``).
"""
