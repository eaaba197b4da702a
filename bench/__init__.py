"""`make bench`: what it costs, beside what people would pick instead. docs/performance.md."""

import os

import django

# The servers are started as the tests start them; what runs beside them needs the models.
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()
