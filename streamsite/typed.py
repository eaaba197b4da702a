"""How a command of ours is typed where this process runs: in a checkout, in an image."""

import sys
from pathlib import Path

from django.conf import settings


def manage(words: str) -> str:
    """`manage.py` with these words, by the Python that has our packages, from our folder."""
    python = Path(sys.executable)
    if python.is_relative_to(settings.BASE_DIR):
        python = python.relative_to(settings.BASE_DIR)
    return f"{python} manage.py {words}"
