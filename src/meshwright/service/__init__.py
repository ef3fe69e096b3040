"""The job service: submit, follow, cancel, download; nothing is lost when a process dies.

The job table is the truth, a queue message is only a hint. `settings` says what can be configured, `store` holds the
tables, `jobs` the life of a job, `storage` its files; `run` is one attempt at a job, `tasks` the only place that knows
Celery, `worker` and `serve` the processes, `api` what is seen over HTTP.
"""
