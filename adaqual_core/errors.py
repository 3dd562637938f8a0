"""The errors that this package raises beside ValueError."""


class NumericalError(RuntimeError):
    """It is raised when a network gives NaN or infinity."""


class CheckpointError(ValueError):
    """It is raised for a model file that cannot be used. The message names the file, the problem and a remedy."""


class PictureError(ValueError):
    """It is raised for a picture file that cannot be read or written. The message names the file, the problem and a remedy."""
