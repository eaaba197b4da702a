from django.urls import path

from videos import views

app_name = "videos"

urlpatterns = [
    path("", views.VideoList.as_view(), name="list"),
    path("videos/<slug:slug>/", views.detail, name="detail"),
]
