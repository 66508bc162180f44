"""`path("wechat/", include("nontax.contrib.django.urls"))`: events of each account."""

from django.urls import path

from nontax.contrib.django.views import EventView, ForwardedView

app_name = "nontax"
urlpatterns = [
    path("<slug:account>/", EventView.as_view(), name="events"),
    path("<slug:account>/forwarded/", ForwardedView.as_view(), name="forwarded"),
]
