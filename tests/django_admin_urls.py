"""The URLs of the admin's tests."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("wechat/", include("nontax.contrib.django.urls")),
]
