/** A job's state in one word, with a colour that is never all it says. */

import type { Job } from "../types";
import { h } from "./dom";

const WORDS: Record<Job["status"], string> = {
  queued: "Waiting",
  processing: "Working",
  completed: "Done",
  failed: "Failed",
  cancelled: "Cancelled",
};

export function badge(job: Job): HTMLElement {
  return h("span", { class: `badge ${job.status}` }, job.cancel_requested && job.status !== "cancelled" ? "Cancelling?" : WORDS[job.status]);
}
