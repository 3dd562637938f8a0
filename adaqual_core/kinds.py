"""This module names the kinds of damage, in their order."""

KINDS = ("low", "rain", "snow", "haze", "raindrops", "blur", "noise", "jpeg")
"""Low light, rain, snow, haze, raindrops on the lens, blur, noise and JPEG. This is the order of the channels of every tensor
[B, 8, h, w] of severities, and the order in which damage is applied: light, precipitation and haze (CDD-11), then the lens, the
sensor and the file."""

TONAL = ("low", "haze")
"""The kinds that change the tone of large parts of a picture. The bilateral grid removes them (method section 3a)."""
