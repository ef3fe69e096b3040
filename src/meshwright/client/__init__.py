"""Talk to a meshwright service: submit six views, follow the job, download what it made.

    from meshwright.client import Client

    with Client("http://127.0.0.1:8000") as client:
        job = client.submit("photos", model="reconviagen")
        job = client.wait(job.job_id)
        client.download(job.job_id, "shoe.zip")

`AsyncClient` has the same calls with `await`. What is said to the server stands once, in `flows.py`; the two clients
only differ in how they wait.
"""

from __future__ import annotations

from meshwright.client.asynchronous import AsyncClient
from meshwright.client.records import Cancellation, Job, JobFault, Page
from meshwright.client.synchronous import Client

__all__ = ["AsyncClient", "Cancellation", "Client", "Job", "JobFault", "Page"]
