from django.apps import AppConfig
from django.conf import settings


class StreamsiteConfig(AppConfig):
    name = "streamsite"
    verbose_name = "Site"

    def ready(self) -> None:
        if settings.SENTRY_DSN:
            from streamsite.observe import sentry

            sentry.start()
