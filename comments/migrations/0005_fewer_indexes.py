import django.db.models.deletion
from django.db import migrations, models

# The names that Django gave them, on every database.
INDEXES = {
    "comments_comment_author_id_334ce9e2": "author_id",
    "comments_comment_stream_id_3f254fd5": "stream_id",
}


class Migration(migrations.Migration):

    dependencies = [
        ('comments', '0004_jobs_and_retention'),
    ]

    # Not by AlterField: PostgreSQL would be told to take the foreign keys away and put them back,
    # which reads all comments while nobody else can read or write one; SQLite would copy the table.
    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    f'DROP INDEX IF EXISTS "{name}"',
                    f'CREATE INDEX "{name}" ON "comments_comment" ("{column}")',
                )
                for name, column in INDEXES.items()
            ],
            state_operations=[
                migrations.AlterField(
                    model_name='comment',
                    name='author',
                    field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='comments', to='comments.viewer', verbose_name='author'),
                ),
                migrations.AlterField(
                    model_name='comment',
                    name='stream',
                    field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.CASCADE, related_name='comments', to='comments.stream'),
                ),
            ],
        ),
    ]
