#!/usr/bin/env python
"""Django's command line for this project; see README.md for the commands that matter."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "streamsite.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import OperationalError

    try:
        try:
            execute_from_command_line(sys.argv)
        except OperationalError:
            from streamsite.database import require_answer

            require_answer()
            raise
    except ImproperlyConfigured as error:
        # A setting that cannot work is told in a sentence, not in a traceback.
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
