"""The errors that the pack raises beside ValueError."""


class NumericalError(RuntimeError):
    """A network gave NaN or infinity."""


class CheckpointError(ValueError):
    """A model file that cannot be used."""


class PictureError(ValueError):
    """A picture file that cannot be read or written."""
