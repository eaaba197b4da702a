"""All settings, in one file. What the environment may change is read through `streamsite.env`.

Every variable is documented in the table of docs/settings.md. Without any, the project runs from
its checkout: DEBUG, SQLite and uploads under `var/`, and the in-memory channel layer.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import django_stubs_ext
from django.utils.crypto import salted_hmac
from django.utils.csp import CSP
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff

from streamsite import env, tls
from streamsite.connections import TellingRetry, attentive
from streamsite.observe.collector import collector

django_stubs_ext.monkeypatch()  # makes ModelAdmin[Video] and the like work outside mypy too

BASE_DIR = Path(__file__).resolve().parent.parent

# --- This process -------------------------------------------------------------------------------

DEBUG = env.flag("DEBUG", default=True)
DATA_DIR = env.folder("DATA_DIR", default=BASE_DIR / "var")
SECRET_KEY = env.secret_key("SECRET_KEY", debug=DEBUG, kept_in=DATA_DIR / "secret_key")
ALLOWED_HOSTS = env.hosts("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
BIND = env.bind("BIND", default="127.0.0.1:8000")
# How many `serve` run on this database, over all machines: for `check --deploy` alone.
PROCESSES = env.number("PROCESSES", default=1, least=1, most=100_000, example=4)
# How many reverse proxies stand before us; each adds one entry at the right of X-Forwarded-For.
TRUSTED_PROXIES = env.number("TRUSTED_PROXIES", default=0, least=0, most=10, example=1)
# TLS by this process itself, and a second, plain listener that redirects to it.
TLS = tls.certificate("TLS_CERT", "TLS_KEY")
HTTP_BIND = env.optional_bind("HTTP_BIND")
if HTTP_BIND and not TLS:
    env.refuse("HTTP_BIND", "is set without TLS_CERT", "TLS_CERT and TLS_KEY too, or only BIND")
# Whether people reach us by https (here or at a proxy): secure cookies, redirect, HSTS.
HTTPS = env.flag("HTTPS", default=not DEBUG or TLS is not None)
if TLS and not HTTPS:
    env.refuse("HTTPS", "is off while TLS_CERT is set", "HTTPS=on, or no TLS_CERT and TLS_KEY")
# With HTTPS. Other subdomains may not be ours to promise anything for.
HSTS_ALL = env.flag("HSTS_ALL", default=False)
METRICS_TOKEN = env.token("METRICS_TOKEN")
SENTRY_DSN = env.sentry("SENTRY_DSN")
TRACES = collector()
LOG_FORMAT = env.choice("LOG_FORMAT", default="text" if DEBUG else "json", allowed=("text", "json"))
LOG_LEVEL = env.choice("LOG_LEVEL", default="INFO", allowed=("DEBUG", "INFO", "WARNING", "ERROR"))

# What the site itself has under these; admin may have any other path.
OWN_PATHS = ("accounts", "healthz", "media", "metrics", "readyz", "static", "videos", "ws")
ROOT_URLCONF = "streamsite.urls"
ASGI_APPLICATION = "streamsite.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "streamsite.apps.StreamsiteConfig",
    "videos",
    "comments",
    "channels",
    "django_htmx",
    "streamsite.apps.StreamsiteAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
    "django_tasks_db",
    "servestatic",
    "django.contrib.staticfiles",
]

MIDDLEWARE = [
    "streamsite.health.HealthMiddleware",
    "streamsite.observe.doors.MetricsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "streamsite.pages.PagesMiddleware",  # what is above it asks the database in threads of its own
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "axes.middleware.AxesMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Data ---------------------------------------------------------------------------------------

DATABASES = {
    "default": env.database("DATABASE_URL", default=f"sqlite:///{quote(str(DATA_DIR))}/db.sqlite3"),
}

REDIS = env.redis("REDIS_URL")
# Two sites on one Redis, staging and production say, must not hear each other.
_site = salted_hmac("streamsite.redis", "", SECRET_KEY, algorithm="sha256").hexdigest()[:8]
REDIS_PREFIX = f"streamsite-{_site}"
CHANNEL_LAYER = env.choice("CHANNEL_LAYER", default="pubsub", allowed=("pubsub", "core"))

CHANNEL_LAYERS: dict[str, Any]
CACHES: dict[str, Any]
if REDIS:
    # PubSub costs one PUBLISH a message and comes back by itself; with retries and health
    # checks a restart of Redis drops no connection for good. The core layer costs about 15
    # commands a message, and dies of 5 s without one unless its timeout is longer.
    waits: dict[str, Any] = (
        {
            "retry": TellingRetry(ExponentialWithJitterBackoff(base=0.05, cap=1.0), 10),
            "health_check_interval": 2,
            "socket_connect_timeout": 2,
        }
        if CHANNEL_LAYER == "pubsub"
        else {
            "retry": TellingRetry(NoBackoff(), 0),
            "socket_timeout": 20,
            "socket_connect_timeout": 2,
        }
    )
    # Nobody is kept waiting by the cache, nor by a sentinel that is gone: there are others.
    at_once = {"socket_connect_timeout": 0.5, "socket_timeout": 0.5}
    if REDIS.has_sentinels:
        waits["sentinel_kwargs"] = at_once | {"retry": Retry(NoBackoff(), 0)}
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": {
                "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
                "core": "channels_redis.core.RedisChannelLayer",
            }[CHANNEL_LAYER],
            "CONFIG": {
                "prefix": REDIS_PREFIX,
                "hosts": [waits | attentive(host) for host in REDIS.hosts],
            }
            | ({"capacity": 1000, "expiry": 10} if CHANNEL_LAYER == "core" else {}),
        }
    }
    CACHES = {
        "default": {
            "BACKEND": "streamsite.cache.ShortLivedRedisCache",
            # In a list: Django would divide a string at its commas, which passwords may have.
            "LOCATION": [REDIS.url],
            "KEY_PREFIX": REDIS_PREFIX,
            "OPTIONS": at_once
            | (
                REDIS.hosts[0] | {"pool_class": "streamsite.connections.MasterPool"}
                if REDIS.has_sentinels
                else {}
            ),
        }
    }
else:
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}

# --- Background work (comments/jobs) ------------------------------------------------------------

TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}
EXPORT_DIR = DATA_DIR / "exports"  # not among the uploads: who may load them is asked each time
EXPORT_HOURS = env.number("EXPORT_HOURS", default=24, least=1, most=720, example=24)

# --- The stream's limits (rules themselves: comments/limits.py) ---------------------------------

RATE_VIEWER = env.rate("RATE_VIEWER", default=env.Rate(5, 10), example="5/10")
# In DEBUG everybody comes from this machine, one address: counting it would only get in the way.
RATE_ADDRESS = env.rate(
    "RATE_ADDRESS", default=None if DEBUG else env.Rate(30, 10), example="30/10"
)
SOCKETS_PER_SESSION = env.limit("SOCKETS_PER_SESSION", default=20)
SOCKETS_PER_ADDRESS = env.limit("SOCKETS_PER_ADDRESS", default=None if DEBUG else 200)
SOCKETS_PER_PROCESS = env.sockets("SOCKETS_PER_PROCESS", default=20_000)

# --- People -------------------------------------------------------------------------------------

SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"
SESSION_COOKIE_AGE = 90 * 24 * 3600  # an anonymous viewer keeps name and colour for a season
LOGIN_REDIRECT_URL = "videos:list"
LOGOUT_REDIRECT_URL = "videos:list"
LOGIN_URL = "login"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# --- Wrong passwords (streamsite/signin.py) ------------------------------------------------------

LOGIN_ATTEMPTS = env.limit("LOGIN_ATTEMPTS", default=5)
# In seconds.
LOGIN_COOLOFF = env.number("LOGIN_COOLOFF", default=900, least=1, most=7 * 24 * 3600, example=900)
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",  # says no before a password is looked at
    "django.contrib.auth.backends.ModelBackend",
]
AXES_ENABLED = LOGIN_ATTEMPTS is not None
AXES_FAILURE_LIMIT = LOGIN_ATTEMPTS or 1
AXES_COOLOFF_TIME = timedelta(seconds=LOGIN_COOLOFF)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
# Who is told to wait 15 minutes waits 15 minutes, also when they try before.
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_HANDLER = "streamsite.signin.Attempts"
AXES_CLIENT_IP_CALLABLE = "streamsite.signin.client_address"
AXES_CLIENT_STR_CALLABLE = "streamsite.signin.nobody"
AXES_LOCKOUT_CALLABLE = "streamsite.signin.locked"
AXES_DISABLE_ACCESS_LOG = True  # who signed in when is nothing that we keep
AXES_ENABLE_ADMIN = False  # streamsite/admin.py has what there is to see
AXES_VERBOSE = False

# --- Admin ---------------------------------------------------------------------------------------

ADMIN_PATH = env.url_path("ADMIN_PATH", default="admin/", taken=OWN_PATHS)
# Beside the password, in admin alone: a code of an app (streamsite/second_factor.py).
ADMIN_SECOND_FACTOR = env.choice(
    "ADMIN_SECOND_FACTOR", default="optional", allowed=("off", "optional", "required")
)
OTP_TOTP_ISSUER = "Streamsite"

# --- Safety -------------------------------------------------------------------------------------

SECURE_CSP = {
    "default-src": [CSP.NONE],
    "script-src": [CSP.SELF],
    "style-src": [CSP.SELF],
    "img-src": [CSP.SELF, "data:"],
    "font-src": [CSP.SELF],
    "media-src": [CSP.SELF],
    "connect-src": [CSP.SELF],
    "manifest-src": [CSP.SELF],
    "form-action": [CSP.SELF],
    "base-uri": [CSP.NONE],
    "frame-ancestors": [CSP.NONE],
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
CSRF_TRUSTED_ORIGINS = env.origins("ORIGINS")
CSRF_FAILURE_VIEW = "streamsite.views.csrf_failure"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
if HTTPS:
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True
    SESSION_COOKIE_NAME = "__Host-sessionid"
    CSRF_COOKIE_NAME = "__Host-csrftoken"
    SECURE_SSL_REDIRECT = True
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = HSTS_ALL
    SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
if TRUSTED_PROXIES:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- Files --------------------------------------------------------------------------------------

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
MEDIA_URL = "/media/"
MEDIA_ROOT = DATA_DIR / "media"
FFMPEG = env.program("FFMPEG", default="ffmpeg")  # takes posters from uploaded videos
UPLOAD_MAX_MB = env.number("UPLOAD_MAX_MB", default=2048, least=1, most=1_000_000, example=2048)
# Of a request's body; what is beyond it waits on the disk. No form of a page is as long, and many
# bodies may drip in at once, 24 on each connection of HTTP/2.
FILE_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024  # bytes
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "streamsite.storage.StaticStorage"
    },
}
# In DEBUG files are served as they stand in static/; otherwise from what collectstatic gathered.
SERVESTATIC_USE_FINDERS = DEBUG
SERVESTATIC_AUTOREFRESH = DEBUG
SERVESTATIC_USE_MANIFEST = not DEBUG

# --- Words and time -----------------------------------------------------------------------------

LANGUAGE_CODE = "en"
USE_I18N = True
USE_TZ = True
TIME_ZONE = "UTC"

# --- Logs ---------------------------------------------------------------------------------------

# What no line of the log shows.
LOG_SECRETS = [SECRET_KEY, METRICS_TOKEN, SENTRY_DSN, DATABASES["default"].get("PASSWORD")]
LOG_SECRETS += [host.get("password") for host in (REDIS.hosts if REDIS else [])]
LOG_SECRETS += TRACES.secrets if TRACES else []
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "text": {"()": "streamsite.logs.OneLineFormatter", "secrets": LOG_SECRETS},
        "json": {"()": "streamsite.logs.JsonFormatter", "secrets": LOG_SECRETS},
    },
    "filters": {
        "redis": {"()": "streamsite.logs.RedisInOneLine"},
        "traces": {"()": "streamsite.logs.TracesSeldom"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # Django's own handler would say everything a second time, as it comes; at DEBUG it shows
        # every query with what people wrote in it.
        "django": {"handlers": [], "level": "INFO"},
        # Each 4xx would be a line a stranger can write at will; 5xx stay.
        "django.request": {"level": "ERROR"},
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        "channels_redis.pubsub": {"filters": ["redis"]},
        "opentelemetry": {"level": "WARNING"},
        # Where it tells of its collector, and of its queue.
        "opentelemetry.exporter.otlp.proto.http.trace_exporter": {"filters": ["traces"]},
        "opentelemetry.sdk._shared_internal": {"filters": ["traces"]},
        # A line or more for each sign-in, wrong or right; ours says when a name is locked.
        "axes": {"level": "ERROR"},
    },
}
