from django.urls import path

from comments import desk
from comments.views import comments

app_name = "comments"
urlpatterns = [
    path("videos/<slug:slug>/comments/", comments, name="comments"),
    path("videos/<slug:slug>/desk/", desk.desk, name="desk"),
    path("videos/<slug:slug>/desk/cancel/", desk.cancel, name="cancel"),
    path("videos/<slug:slug>/desk/<int:job_id>/", desk.download, name="download"),
    path("videos/<slug:slug>/report/", desk.report, name="report"),
]
