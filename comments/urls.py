from django.urls import path

from comments.views import comments

app_name = "comments"
urlpatterns = [path("videos/<slug:slug>/comments/", comments, name="comments")]
