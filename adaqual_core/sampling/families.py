"""Earlier names of what now lies in restore.py and settings.py."""

import torch.nn as nn

from .restore import restore
from .settings import settings_for as settings_for
from .settings import working_memory as working_memory

Restorer = nn.Module
restore_with = restore
