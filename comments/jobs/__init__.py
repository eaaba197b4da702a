"""Background work: what a worker (`manage.py db_worker`) does, and how people hear of it.

`queue` hands a job to the workers and takes back what a lost one had; `attempt` is what one worker
does to one job; `exports`, `comments.report` and `posters` are the work; `bell` tells the page.
"""
