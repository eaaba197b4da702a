"""`make soak`: every fault at full size; the table goes to docs/reliability.md.

python -m tests.faults.soak [--only WORD …] [--seed NUMBER]
"""

import os

import django

if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    from tests.faults.long_form import main  # imports models

    main()
