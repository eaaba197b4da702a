import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from comments.accounts import forms_of


def remember_all(apps, schema_editor):
    User = apps.get_model(settings.AUTH_USER_MODEL)
    AccountName = apps.get_model("comments", "AccountName")
    users = User.objects.order_by("pk").iterator(chunk_size=2000)
    AccountName.objects.bulk_create(
        (
            AccountName(
                user_id=user.pk,
                **forms_of(user.username, f"{user.first_name} {user.last_name}".strip()),
            )
            for user in users
        ),
        batch_size=2000,
    )


class Migration(migrations.Migration):

    dependencies = [
        ("comments", "0001_initial"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="AccountName",
            fields=[
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("username", models.CharField(db_index=True, max_length=300)),
                ("full_name", models.CharField(db_index=True, max_length=600)),
                ("username_likeness", models.CharField(db_index=True, max_length=300)),
                ("full_name_likeness", models.CharField(db_index=True, max_length=600)),
            ],
        ),
        migrations.RunPython(remember_all, migrations.RunPython.noop, elidable=True),
    ]
