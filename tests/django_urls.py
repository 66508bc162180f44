"""The URLs of the tests' Django project."""

from django.urls import include, path

urlpatterns = [path("wechat/", include("nontax.contrib.django.urls"))]
