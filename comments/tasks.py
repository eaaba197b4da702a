"""The one task: a worker looks at a job. What is to be done stands in the job, not in the task."""

import uuid
from typing import Any

from django.tasks import TaskContext, task

from comments.jobs import attempt
from comments.jobs.works import WORKS


@task(takes_context=True)
def work(context: "TaskContext[Any, Any]", job_id: int) -> None:
    attempt.run(job_id, uuid.UUID(context.task_result.id), WORKS)
