/** Calls of the service. Addresses are relative to the page, so it works behind any prefix. */

import type { FileEntry, Job, JobList, LivePicture, Offer, Report, Session } from "./types";

/** A refusal, after RFC 9457; `code` is empty where the service was not reached at all. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly suggestion = "",
    readonly fields: Record<string, string> = {},
  ) {
    super(detail);
  }
}

export const address = (path: string): string => new URL(path, document.baseURI).href;

/** Called when a call is refused for want of a key. */
export const onUnauthorized: { call: () => void } = { call: () => undefined };

function problemOf(status: number, text: string): Problem {
  try {
    const body = JSON.parse(text) as Record<string, unknown>;
    return new Problem(
      status,
      String(body["code"] ?? ""),
      String(body["detail"] ?? "The service refused."),
      String(body["suggestion"] ?? ""),
      (body["fields"] as Record<string, string> | undefined) ?? {},
    );
  } catch {
    return new Problem(status, "", `The service answered ${status} without saying why.`);
  }
}

function refused(problem: Problem): Problem {
  if (problem.status === 401) onUnauthorized.call();
  return problem;
}

async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(address(path), {
      method,
      headers: { "X-Meshwright-Page": "1", ...(body === undefined ? {} : { "Content-Type": "application/json" }) },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      credentials: "same-origin",
      cache: "no-cache",
    });
  } catch {
    throw new Problem(0, "", "The service cannot be reached.", "It may be starting again; this page keeps trying.");
  }
  const text = answer.status === 204 ? "" : await answer.text();
  if (!answer.ok) throw refused(problemOf(answer.status, text));
  return (text ? JSON.parse(text) : undefined) as T;
}

export const api = {
  options: () => call<Offer>("GET", "api/options"),
  session: () => call<Session>("GET", "api/session"),
  signIn: (key: string) => call<Session>("POST", "api/session", { key }),
  signOut: () => call<void>("DELETE", "api/session"),
  ready: () => call<{ status: string }>("GET", "health/ready"),
  jobs: (status: string, cursor: string | null) => {
    const query = new URLSearchParams({ limit: "24" });
    if (status) query.set("status", status);
    if (cursor) query.set("cursor", cursor);
    return call<JobList>("GET", `api/jobs?${query.toString()}`);
  },
  job: (id: string) => call<Job>("GET", `api/jobs/${id}`),
  files: (id: string) => call<{ files: FileEntry[] }>("GET", `api/jobs/${id}/files`),
  live: (id: string) => call<{ pictures: LivePicture[] }>("GET", `api/jobs/${id}/live`),
  report: (id: string, model: string) => call<Report>("GET", `api/jobs/${id}/files/${model}/quality.json`),
  cancel: (id: string, confirm: boolean) => call<{ message: string }>("POST", `api/jobs/${id}/cancel`, { confirm }),
  keep: (id: string) => call<Job>("DELETE", `api/jobs/${id}/cancel`),
  remove: (id: string) => call<void>("DELETE", `api/jobs/${id}`),
  rerun: (id: string, model: string, quality: string) =>
    call<{ job_id: string }>("POST", `api/jobs/${id}/rerun`, { model_type: model, quality }),
};

export const inputUrl = (id: string, kind: string, view: string, width?: 160 | 480): string =>
  address(`api/jobs/${id}/inputs/${kind}/${view}${width ? `?width=${width}` : ""}`);
export const fileUrl = (id: string, model: string, name: string): string =>
  address(`api/jobs/${id}/files/${model}/${name}`);
export const zipUrl = (id: string): string => address(`api/jobs/${id}/download`);

/** Sends a form; the key makes a repetition of the same submission harmless. */
export function submit(
  form: FormData,
  key: string,
  onProgress: (share: number) => void,
): { done: Promise<{ job_id: string }>; abort: () => void } {
  const request = new XMLHttpRequest(); // fetch does not tell how much has been sent
  const done = new Promise<{ job_id: string }>((resolve, reject) => {
    request.open("POST", address("api/jobs"));
    request.setRequestHeader("Idempotency-Key", key);
    request.setRequestHeader("X-Meshwright-Page", "1");
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    request.addEventListener("load", () => {
      if (request.status === 202) resolve(JSON.parse(request.responseText) as { job_id: string });
      else reject(refused(problemOf(request.status, request.responseText)));
    });
    request.addEventListener("error", () => {
      reject(new Problem(0, "", "The service cannot be reached.", "Nothing was started. Try again in a moment."));
    });
    request.addEventListener("abort", () => reject(new Problem(0, "ABORTED", "Stopped.")));
    request.send(form);
  });
  return { done, abort: () => request.abort() };
}

/** Every change of a job, until it ends or `stop` is called. Comes back by itself when the connection breaks. */
export function follow(id: string, onJob: (job: Job) => void, onLink: (isThere: boolean) => void): () => void {
  let source: EventSource | null = null;
  let timer = 0;
  let stopped = false;
  const open = (): void => {
    source = new EventSource(address(`api/jobs/${id}/events`));
    source.addEventListener("open", () => onLink(true));
    source.addEventListener("status", (event) => {
      onLink(true);
      onJob(JSON.parse((event as MessageEvent<string>).data) as Job);
    });
    source.addEventListener("error", () => {
      if (stopped || source === null) return;
      onLink(false);
      // Browsers come back by themselves (with Last-Event-ID) unless the answer was a refusal, such as a 503.
      if (source.readyState === EventSource.CLOSED) {
        source = null;
        timer = window.setTimeout(open, 2000);
      }
    });
  };
  open();
  return () => {
    stopped = true;
    window.clearTimeout(timer);
    source?.close();
  };
}
