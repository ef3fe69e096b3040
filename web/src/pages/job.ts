/** One job: how far it is, what it has made, and what can be done with it. */

import { api, follow, inputUrl, Problem, zipUrl } from "../api";
import { hasEnded, VIEWS, type Job, type LivePicture } from "../types";
import { cancelJob, deleteJob, rerunJob } from "../ui/actions";
import { clear, h, icon } from "../ui/dom";
import { moment, roughly } from "../ui/format";
import { badge } from "../ui/status";
import type { Page } from "./page";
import { results, type Results } from "./result";

const LIVE_TITLES: Record<string, string> = {
  views: "Taken for the object",
  shape: "Carved shape",
  proposal: "Proposed shape",
  model: "Refined shape",
  texture: "Textured",
};

export function jobPage(id: string): Page {
  let job: Job | null = null;
  let cameAt = 0;
  let isThere = true;
  let stop: () => void = () => undefined;
  let shownHead = "";
  let shownModels = "";
  let shownResults: Results | null = null;
  let lastStep = "";
  let live: LivePicture[] = [];

  const heading = h("div", { class: "job-head" });
  const link = h("p", { class: "link-lost", role: "status", hidden: true }, icon("warn", 16), h("span", {}, "The connection is lost. This page comes back by itself."));
  const progress = h("section", { class: "card progress-card", "aria-label": "Progress", hidden: true });
  const liveStrip = h("section", { class: "live", "aria-label": "The work so far", hidden: true });
  const outcome = h("div", { class: "outcome" });
  const inputs = h("section", { class: "card inputs", "aria-label": "What was sent", hidden: true });
  const spoken = h("p", { class: "hidden", role: "status", "aria-live": "polite" });
  const element = h("div", { class: "job-page" }, heading, link, spoken, progress, liveStrip, outcome, inputs);

  // Built once, so that the bar moves instead of being made anew.
  const percent = h("span", { class: "percent" });
  const step = h("span", { class: "step" });
  const fill = h("span", {});
  const meter = h("div", { class: "bar", role: "progressbar", "aria-label": "Progress", "aria-valuemin": 0, "aria-valuemax": 100 }, fill);
  const left = h("span", { class: "muted" });
  const part = h("span", { class: "muted" });
  clear(
    progress,
    h("div", { class: "progress-line" }, percent, h("div", { class: "progress-words" }, step, part), left),
    meter,
  );

  function drawHead(now: Job): void {
    // Not with every event: a button must not go away under the finger.
    const key = `${now.status}:${now.cancel_requested}:${now.expired}`;
    if (key === shownHead) return;
    // The frame puts focus on the whole page while there is no heading yet.
    const isFocused = heading.contains(document.activeElement) || document.activeElement?.id === "main";
    shownHead = key;
    const actions: (Node | null)[] = [];
    if (!hasEnded(now)) {
      actions.push(
        h("button", { type: "button", class: "button", click: () => void cancelJob(now.job_id) }, icon("stop", 16), "Cancel…"),
      );
    } else {
      if (now.status === "completed" && !now.expired) {
        actions.push(h("a", { class: "button primary", href: zipUrl(now.job_id), download: "" }, icon("download", 16), "Download ZIP"));
      }
      if (now.status !== "cancelled" && !now.expired) {
        actions.push(h("button", { type: "button", class: "button", click: () => void rerunJob(now) }, icon("again", 16), "Run again…"));
      }
      actions.push(
        h("button", { type: "button", class: "button", click: () => void deleteJob(now.job_id).then((is) => { if (is) location.hash = "#/jobs"; }) }, icon("trash", 16), "Delete…"),
      );
    }
    clear(
      heading,
      h(
        "div",
        {},
        h("p", { class: "crumb" }, h("a", { href: "#/jobs" }, "Jobs"), " / "),
        h("h1", { tabindex: "-1", class: "title" }, "Job ", h("code", {}, now.job_id), " ", badge(now)),
        h(
          "p",
          { class: "muted" },
          `${now.model_type}, ${now.options.quality ?? "default"} quality, sent ${moment(now.created_at)}` +
            (now.started_at && now.ended_at ? `, took ${roughly((Date.parse(now.ended_at) - Date.parse(now.started_at)) / 1000).replace("about ", "")}` : ""),
        ),
      ),
      h("div", { class: "actions" }, actions),
    );
    if (isFocused) heading.querySelector<HTMLElement>("h1")?.focus({ preventScroll: true });
  }

  function drawProgress(now: Job): void {
    progress.hidden = hasEnded(now);
    if (hasEnded(now)) return;
    const isWaiting = now.status === "queued";
    percent.textContent = isWaiting ? "–" : `${Math.floor(now.progress)} %`;
    step.textContent = isWaiting ? "Waiting for a worker" : now.step;
    part.textContent = isWaiting
      ? now.queue_position === null
        ? ""
        : now.queue_position === 1
          ? "Next in the queue"
          : `Place ${now.queue_position} in the queue`
      : [now.current_model, now.attempt > 1 ? `attempt ${now.attempt}: taken up where a worker was lost` : ""].filter(Boolean).join(", ");
    fill.style.inlineSize = `${isWaiting ? 0 : Math.max(1, now.progress)}%`;
    meter.classList.toggle("waiting", isWaiting);
    meter.setAttribute("aria-valuenow", String(Math.floor(now.progress)));
    meter.setAttribute("aria-valuetext", `${Math.floor(now.progress)} percent, ${step.textContent}`);
    drawLeft();
  }

  function drawLeft(): void {
    if (job === null || job.status !== "processing" || job.seconds_left === null) {
      left.textContent = "";
      return;
    }
    const rest = job.seconds_left - (performance.now() - cameAt) / 1000;
    left.textContent = rest > 3 ? `${roughly(rest)} left` : "nearly done";
  }

  function drawLive(now: Job): void {
    const isShown = !hasEnded(now) && live.length > 0;
    liveStrip.hidden = !isShown;
    if (!isShown) {
      clear(liveStrip);
      return;
    }
    const several = new Set(live.map((picture) => picture.model)).size > 1;
    const there = new Set([...liveStrip.querySelectorAll("figure")].map((figure) => figure.dataset["name"]));
    for (const picture of live) {
      const name = `${picture.model}/${picture.name}`;
      if (there.has(name)) continue;
      const image = h("img", { src: picture.url, alt: `${LIVE_TITLES[picture.title] ?? picture.title}, as it came out of its stage` });
      const figure = h(
        "figure",
        { class: "card", "data-name": name },
        image,
        h("figcaption", {}, LIVE_TITLES[picture.title] ?? picture.title, several && h("span", { class: "muted" }, ` (${picture.model})`)),
      );
      image.addEventListener("error", () => figure.remove()); // it went in the meantime
      liveStrip.append(figure);
    }
  }

  async function drawOutcome(now: Job): Promise<void> {
    const models = Object.keys(now.quality);
    const key = `${now.status}:${models.join()}:${now.expired}`;
    if (key === shownModels) return;
    shownModels = key;
    shownResults?.dispose();
    shownResults = null;
    if (now.expired) {
      clear(outcome, message("clock", "The files are gone", "They were removed after their time. Send the pictures again for a new result."));
    } else if (now.status === "cancelled") {
      clear(outcome, message("stop", "Cancelled", "The job was stopped and its files were removed."));
    } else {
      clear(
        outcome,
        now.status === "failed" &&
          message("warn", "It did not work", now.error?.message ?? "It failed without saying why.", now.error?.suggestion, now.error?.code),
        now.status === "completed" && now.step !== "Done" && message("warn", "Not everything was run", `${now.step}.`),
      );
      if (models.length > 0) {
        const made = await results(now);
        if (key !== shownModels) return void made.dispose();
        shownResults = made;
        outcome.append(made.element);
      }
    }
  }

  function message(sign: string, title: string, text: string, hint?: string, code?: string): HTMLElement {
    return h(
      "section",
      { class: "card message", role: code ? "alert" : false },
      icon(sign, 26),
      h("div", {}, h("h2", {}, title), h("p", {}, text), hint && h("p", { class: "muted" }, hint), code && h("code", { class: "small muted" }, code)),
    );
  }

  function drawInputs(now: Job): void {
    const isThereStill = now.status !== "cancelled" && !now.expired;
    inputs.hidden = !isThereStill;
    if (!isThereStill || inputs.childElementCount > 0) return;
    const strip = (kind: "views" | "depth"): HTMLElement =>
      h(
        "ul",
        { class: "thumbs" },
        VIEWS.map((view) =>
          h(
            "li",
            {},
            h("a", { href: inputUrl(now.job_id, kind, view), target: "_blank", rel: "noopener" },
              h("img", { src: inputUrl(now.job_id, kind, view, 160), alt: `${kind === "depth" ? "Depth of " : ""}${view}`, width: 80, height: 80 }),
              h("span", { class: "small", "aria-hidden": "true" }, view)),
          ),
        ),
      );
    clear(inputs, h("h2", {}, "What was sent"), strip("views"), now.has_depth && h("h3", {}, "Depth renders"), now.has_depth && strip("depth"));
  }

  /** Pictures that could not be had while the service was away. */
  function drawAgain(): void {
    for (const image of element.querySelectorAll("img")) {
      if (image.complete && image.naturalWidth === 0) image.src = image.src.slice();
    }
  }

  function show(now: Job): void {
    if (job && now.revision < job.revision) return;
    const before = job?.status;
    job = now;
    cameAt = performance.now();
    drawHead(now);
    drawProgress(now);
    drawInputs(now);
    void drawOutcome(now);
    if (before !== now.status) spoken.textContent = `Job ${now.job_id}: ${now.status}`;
    if (!hasEnded(now) && now.step !== lastStep) {
      lastStep = now.step;
      void lookForPictures();
    }
    if (hasEnded(now)) {
      stop();
      window.clearInterval(ticking);
      drawLive(now);
    }
    document.title = hasEnded(now) ? `${now.status}: job ${now.job_id} - meshwright` : `${Math.floor(now.progress)} % - job ${now.job_id} - meshwright`;
  }

  async function lookForPictures(): Promise<void> {
    try {
      live = (await api.live(id)).pictures;
      if (job) drawLive(job);
    } catch {
      // They are an extra; the next step asks again.
    }
  }

  let ticks = 0;
  const ticking = window.setInterval(() => {
    ticks += 1;
    drawLeft();
    if (job === null || hasEnded(job) || !isThere) return;
    if (job.status === "processing" && ticks % 2 === 0) void lookForPictures();
    // The place in the queue changes without the job itself changing.
    if (job.status === "queued" && ticks % 4 === 0) void api.job(id).then(show, () => undefined);
  }, 1000);

  async function begin(): Promise<void> {
    try {
      show(await api.job(id));
    } catch (error) {
      const problem = error instanceof Problem ? error : null;
      if (problem && problem.status >= 400 && problem.status < 500) {
        clear(heading, h("h1", { tabindex: "-1", class: "title" }, "Job ", h("code", {}, id)));
        clear(outcome, message("warn", problem.message, problem.suggestion));
        window.clearInterval(ticking);
        return;
      }
      link.hidden = false;
      retry = window.setTimeout(() => void begin(), 2000);
      return;
    }
    link.hidden = true;
    if (job && !hasEnded(job)) {
      stop = follow(id, show, (is) => {
        if (is && !isThere) drawAgain();
        isThere = is;
        link.hidden = is;
      });
    }
  }
  let retry = 0;
  void begin();
  return {
    title: `Job ${id}`,
    element,
    leave: () => {
      stop();
      window.clearInterval(ticking);
      window.clearTimeout(retry);
      shownModels = "left";
      shownResults?.dispose();
    },
  };
}
