"""Settings of a Django project for tests. NONTAX_SITE: its database and accounts, as JSON."""

import json
import os

_given = json.loads(os.environ["NONTAX_SITE"])
if _given["database"]["ENGINE"].endswith("mysql"):
    import pymysql

    pymysql.version_info = (2, 2, 7, "final", 0)
    pymysql.install_as_MySQLdb()
SECRET_KEY = "of tests"
USE_TZ = True
INSTALLED_APPS = ["nontax.contrib.django"]
DATABASES = {"default": _given["database"]}
NONTAX = _given["nontax"]
CACHES = _given.get(
    "caches", {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
)
LOGGING_CONFIG = None
ROOT_URLCONF = "django_urls"
ALLOWED_HOSTS = ["*"]
