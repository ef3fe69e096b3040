/** All jobs, newest first. */

import { api, inputUrl, Problem, zipUrl } from "../api";
import { hasEnded, type Job } from "../types";
import { cancelJob, deleteJob, rerunJob } from "../ui/actions";
import { clear, h, icon, newId } from "../ui/dom";
import { moment } from "../ui/format";
import { badge } from "../ui/status";
import type { Page } from "./page";

const FILTERS = [
  ["", "All"],
  ["queued", "Waiting"],
  ["processing", "Working"],
  ["completed", "Done"],
  ["failed", "Failed"],
  ["cancelled", "Cancelled"],
] as const;
const VERDICT = { normal: "good", warning: "fair", failure: "poor" } as const;

export function jobsPage(): Page {
  let filter = "";
  let pages = 1;
  let jobs: Job[] = [];
  let hasMore = false;
  let isGone = false;
  const rows = new Map<string, { element: HTMLElement; key: string; update: (job: Job) => void }>();

  const list = h("ul", { class: "job-list" });
  const empty = h("div", { class: "empty", hidden: true });
  const trouble = h("p", { class: "link-lost", role: "status", hidden: true });
  const more = h("button", { type: "button", class: "button", hidden: true, click: () => { pages += 1; void load(); } }, "Show older ones");
  const group = newId("filter");
  const element = h(
    "div",
    { class: "jobs-page" },
    h("div", { class: "job-head" }, h("h1", { tabindex: "-1", class: "title" }, "Jobs"), h("a", { class: "button primary", href: "#/" }, icon("plus", 16), "New job")),
    h(
      "fieldset",
      { class: "toggle-group filters" },
      h("legend", { class: "hidden" }, "Show"),
      FILTERS.map(([value, title]) =>
        h("label", { class: "toggle" }, h("input", { type: "radio", name: group, value, checked: value === filter, change: () => { filter = value; pages = 1; void load(); } }), h("span", {}, title)),
      ),
    ),
    trouble,
    list,
    empty,
    more,
  );

  function row(job: Job): { element: HTMLElement; update: (job: Job) => void } {
    const figures = Object.entries(job.quality).map(([model, quality]) =>
      h(
        "span",
        { class: "result-figure" },
        Object.keys(job.quality).length > 1 && `${model}: `,
        quality.psnr ? `${quality.psnr.toFixed(1)} dB` : "",
        quality.status && h("span", { class: `verdict-word-small ${quality.status}` }, ` ${VERDICT[quality.status]}`),
      ),
    );
    const picture = job.status === "cancelled" || job.expired
      ? h("span", { class: "no-picture" }, icon("image", 22))
      : h("img", { src: inputUrl(job.job_id, "views", "front", 160), alt: "", loading: "lazy", width: 72, height: 72 });
    const act = (work: Promise<boolean>): void => void work.then((is) => (is ? load() : undefined));
    const progress = progressOf();
    progress.update(job);
    const element = h(
      "li",
      { class: "job-row card", "data-job": job.job_id },
      h("a", { class: "job-picture", href: `#/jobs/${job.job_id}`, tabindex: "-1", "aria-hidden": "true" }, picture),
      h(
        "div",
        { class: "job-words" },
        h("p", {}, h("a", { href: `#/jobs/${job.job_id}`, class: "job-name" }, h("code", {}, job.job_id)), " ", badge(job)),
        h("p", { class: "muted small" }, `${job.model_type}, ${job.options.quality ?? "default"} quality`, h("span", { class: "when" }, moment(job.created_at))),
        job.status === "failed" && h("p", { class: "small fault-text" }, job.error?.message ?? ""),
        figures.length > 0 && h("p", { class: "small" }, figures),
        !hasEnded(job) && progress.element,
      ),
      h(
        "div",
        { class: "row-actions" },
        job.status === "completed" && !job.expired &&
          h("a", { class: "icon-button", href: zipUrl(job.job_id), download: "", "aria-label": `Download ${job.job_id} as ZIP`, title: "Download ZIP" }, icon("download", 17)),
        hasEnded(job) && job.status !== "cancelled" && !job.expired &&
          h("button", { type: "button", class: "icon-button", "aria-label": `Run ${job.job_id} again`, title: "Run again", click: () => act(rerunJob(job)) }, icon("again", 17)),
        hasEnded(job)
          ? h("button", { type: "button", class: "icon-button", "aria-label": `Delete ${job.job_id}`, title: "Delete", click: () => act(deleteJob(job.job_id)) }, icon("trash", 17))
          : h("button", { type: "button", class: "icon-button", "aria-label": `Cancel ${job.job_id}`, title: "Cancel", click: () => act(cancelJob(job.job_id)) }, icon("stop", 17)),
      ),
    );
    return { element, update: progress.update };
  }

  function progressOf(): { element: HTMLElement; update: (job: Job) => void } {
    const fill = h("span", {});
    const words = h("span", {});
    return {
      element: h("div", { class: "row-progress small" }, h("div", { class: "bar", "aria-hidden": "true" }, fill), words),
      update: (job) => {
        fill.style.inlineSize = `${job.progress}%`;
        words.textContent =
          job.status === "queued" ? (job.queue_position ? `Place ${job.queue_position} in the queue` : "Waiting") : `${Math.floor(job.progress)} %, ${job.step}`;
      },
    };
  }

  function draw(): void {
    const wanted = new Set(jobs.map((job) => job.job_id));
    for (const [id, { element: gone }] of rows) {
      if (!wanted.has(id)) {
        gone.remove();
        rows.delete(id);
      }
    }
    let at: Element | null = list.firstElementChild;
    for (const job of jobs) {
      const key = [job.status, job.cancel_requested, job.expired, ...Object.keys(job.quality)].join();
      const known = rows.get(job.job_id);
      // Rows stay as they are while no more than the progress changes: a button must not go away under the finger.
      const made = known?.key === key ? known : { ...row(job), key };
      const next = made.element;
      made.update(job);
      if (known && known.element !== next) {
        if (at === known.element) at = next;
        const focused = [...known.element.querySelectorAll("a, button")].indexOf(document.activeElement as Element);
        known.element.replaceWith(next);
        if (focused >= 0) next.querySelectorAll<HTMLElement>("a, button")[focused]?.focus();
      }
      rows.set(job.job_id, made);
      if (at === next) at = at.nextElementSibling;
      else list.insertBefore(next, at);
    }
    more.hidden = !hasMore;
    empty.hidden = jobs.length > 0;
    if (!empty.hidden) {
      clear(empty, icon("cube", 40), h("p", {}, filter ? "No such jobs." : "No jobs yet."), !filter && h("a", { class: "button primary", href: "#/" }, "Start the first"));
    }
  }

  async function load(): Promise<void> {
    const asked = filter;
    try {
      const found: Job[] = [];
      let cursor: string | null = null;
      for (let page = 0; page < pages; page += 1) {
        const answer = await api.jobs(asked, cursor);
        found.push(...answer.jobs);
        cursor = answer.next_cursor;
        if (!cursor) break;
      }
      if (isGone || asked !== filter) return;
      jobs = found;
      hasMore = cursor !== null;
      trouble.hidden = true;
      draw();
    } catch (error) {
      trouble.hidden = false;
      clear(trouble, icon("warn", 16), error instanceof Problem ? `${error.message} ${error.suggestion}` : String(error));
    }
  }
  void load();
  const timer = window.setInterval(() => {
    if (!document.hidden) void load();
  }, 3000);
  return {
    title: "Jobs",
    element,
    leave: () => {
      isGone = true;
      window.clearInterval(timer);
    },
  };
}
