/** What can be done to a job, with the questions that come before it. */

import { api, Problem } from "../api";
import type { Job } from "../types";
import { choices, type Choices } from "./choices";
import { ask, notice } from "./dialog";
import { h } from "./dom";

/** Two steps, as the service wants it: asking is the first, confirming the second; going back takes the first back. */
export async function cancelJob(id: string): Promise<boolean> {
  try {
    await api.cancel(id, false);
  } catch (error) {
    notice(error instanceof Problem ? error.message : String(error), "bad");
    return false;
  }
  const isSure = await ask({
    title: "Cancel this job?",
    body: [h("p", {}, "It stops within two seconds, and its pictures and results are removed. This cannot be undone.")],
    yes: "Cancel the job",
    no: "Keep it running",
    isDangerous: true,
    onYes: async () => {
      await api.cancel(id, true);
    },
  });
  if (isSure) notice("The job was cancelled; its files are removed.");
  else await api.keep(id).catch(() => undefined); // it may have ended meanwhile, which is as well
  return isSure;
}

export async function deleteJob(id: string): Promise<boolean> {
  const isSure = await ask({
    title: "Delete this job?",
    body: [h("p", {}, "Its pictures and results are removed for good.")],
    yes: "Delete",
    no: "Keep",
    isDangerous: true,
    onYes: () => api.remove(id),
  });
  if (isSure) notice("The job is deleted.");
  return isSure;
}

/** The same pictures once more; goes to the new job. */
export async function rerunJob(job: Job): Promise<boolean> {
  let choice: Choices;
  try {
    choice = choices(await api.options(), { model: job.model_type, quality: job.options.quality }, () => undefined);
  } catch (error) {
    notice(error instanceof Problem ? error.message : String(error), "bad");
    return false;
  }
  let made = "";
  const isSure = await ask({
    title: "Run again with the same pictures",
    body: [choice.element],
    yes: "Start",
    no: "Back",
    onYes: async () => {
      made = (await api.rerun(job.job_id, choice.model(), choice.quality())).job_id;
    },
  });
  if (isSure) location.hash = `#/jobs/${made}`;
  return isSure;
}
