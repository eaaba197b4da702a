from django.apps import AppConfig
from django.conf import settings
from django.contrib.admin.apps import AdminConfig


class StreamsiteConfig(AppConfig):
    name = "streamsite"
    verbose_name = "Site"

    def ready(self) -> None:
        from streamsite import checks  # noqa: F401  registers itself; it needs the models

        if settings.SENTRY_DSN:
            from streamsite.observe import sentry

            sentry.start()
        if settings.TRACES:
            from streamsite.observe import tracing

            tracing.start()


class StreamsiteAdminConfig(AdminConfig):
    """Django's admin, on our site of it (streamsite/adminsite.py)."""

    default_site = "streamsite.adminsite.StreamsiteAdmin"
