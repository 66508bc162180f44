"""A hospital's settings. What is secret, or another on each machine, is in the environment."""

import json
import os
from pathlib import Path

BASE_DIR = Path(os.environ["HOSPITAL_FOLDER"])
SECRET_KEY = os.environ["HOSPITAL_SECRET_KEY"]
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "nontax.contrib.django",
    "hospital",
]

NONTAX = {
    "ACCOUNTS": {
        # The finance bureau (财政局) inserts bills.
        "bureau": {
            "APPID": os.environ["BUREAU_APPID"],
            "SECRET": os.environ["BUREAU_SECRET"],
            "ROLE": "bureau",
            "S_PAPPID": os.environ["BUREAU_S_PAPPID"],
        },
        # The hospital (执收单位) asks citizens for their authorisation, and gets the events.
        "unit": {
            "APPID": os.environ["UNIT_APPID"],
            "SECRET": os.environ["UNIT_SECRET"],
            "ROLE": "unit",
            "EVENTS": {
                "TOKEN": os.environ["UNIT_PUSH_TOKEN"],
                "AES_KEY": os.environ["UNIT_PUSH_AES_KEY"],
            },
        },
    },
    "OUTBOX": {"WINDOW": 16},
}
# The sandbox, instead of WeChat itself. Leave it out in production.
for _account in NONTAX["ACCOUNTS"].values():
    _account["BASE_URL"] = os.environ["WECHAT_BASE_URL"]
# The hospital's template at WeChat: `client.create_bill_card(payee=…)`, once.
CARD_ID = os.environ["HOSPITAL_CARD_ID"]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "hospital.db",
        "OPTIONS": {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL",
        },
    }
}
# PostgreSQL, Redis and Celery: what `start.py --servers` has started.
if "HOSPITAL_SERVERS" in os.environ:
    _servers = json.loads(os.environ["HOSPITAL_SERVERS"])
    DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", **_servers["database"]}}
    CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": _servers["cache"],
        }
    }
    CELERY_BROKER_URL = _servers["broker"]
    NONTAX["OUTBOX"]["RING"] = "celery"
    NONTAX["ACCOUNTS"]["unit"]["CACHE"] = "default"

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
ROOT_URLCONF = "hospital.urls"
STATIC_URL = "static/"
MEDIA_ROOT = BASE_DIR / "media"
LANGUAGE_CODE = "zh-hans"
TIME_ZONE = "Asia/Shanghai"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
}
