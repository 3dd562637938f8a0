"""Video: what joins the frames of a clip, and clips as files.

``memory`` finds cuts and averages over a window of frames what decides brightness and colour; ``clip`` restores frames in their
order; ``container``, ``pixels`` and ``segments`` read and write files through PyAV (the extra ``adaqual[video]``).
"""
