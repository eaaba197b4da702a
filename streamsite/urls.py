from django.conf import settings
from django.contrib import admin
from django.contrib.auth.views import LogoutView
from django.urls import include, path

from streamsite import views
from streamsite.observe.doors import figures_page

urlpatterns = [
    path("", include("videos.urls")),
    path("", include("comments.urls")),
    path("accounts/login/", views.SignIn.as_view(), name="login"),
    path("accounts/logout/", LogoutView.as_view(), name="logout"),
    path("accounts/signup/", views.SignUp.as_view(), name="signup"),
    path("accounts/password/", views.ChangePassword.as_view(), name="password_change"),
    path("media/<path:path>", views.media, name="media"),
    path(f"{settings.ADMIN_PATH}figures/", admin.site.admin_view(figures_page), name="figures"),
    path(settings.ADMIN_PATH, admin.site.urls),
]
