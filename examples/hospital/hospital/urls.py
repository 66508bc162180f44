from django.contrib import admin
from django.contrib.staticfiles.views import serve
from django.urls import include, path, re_path

from hospital import views

urlpatterns = [
    path("", views.desk, name="desk"),
    path("bill/<str:order_id>/", views.citizen, name="citizen"),
    path("bill/<str:order_id>/authorise/", views.authorise, name="authorise"),
    path("wechat/", include("nontax.contrib.django.urls")),
    path("admin/", admin.site.urls),
    # For trying out; in production the web server has these.
    re_path(r"^static/(?P<path>.*)$", serve, {"insecure": True}),
]
