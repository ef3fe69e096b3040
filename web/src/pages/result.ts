/** What came out: the mesh to turn around, how good it is, and its files. */

import { api, zipUrl } from "../api";
import type { FileEntry, Job, Report } from "../types";
import { compare } from "../ui/compare";
import { clear, h, icon, newId } from "../ui/dom";
import { bytes, count, duration } from "../ui/format";
import { stage, type Stage } from "../viewer/stage";

const VERDICTS = {
  normal: ["Good", "Seen from the cameras of your pictures, the mesh shows what the pictures show."],
  warning: ["Fair", "The mesh resembles your pictures, but differences are visible. The error pictures show where."],
  failure: [
    "Poor",
    "The mesh differs strongly from your pictures. Common causes: pictures of different poses or objects, views under the wrong name, or a background that could not be told from the object.",
  ],
} as const;

const MAIN: [string, string][] = [
  ["mesh.glb", "Mesh and texture in one file, for the web, Blender, Unity and most viewers"],
  ["mesh.obj", "Mesh for older programs; needs mesh.mtl and mesh.png beside it"],
  ["mesh.mtl", "Material of mesh.obj"],
  ["mesh.png", "The texture"],
  ["mesh.ply", "Mesh with colours at its vertices"],
  ["report.html", "The full report, one page"],
  ["quality.json", "All figures, for programs"],
  ["cameras.json", "The cameras as fitted, NeRF-synthetic form"],
  ["previews/turntable.webp", "A walk around, as a moving picture"],
];

export interface Results {
  element: HTMLElement;
  dispose: () => void;
}

export async function results(job: Job): Promise<Results> {
  const models = Object.keys(job.quality);
  const files = await api.files(job.job_id).then((answer) => answer.files, () => [] as FileEntry[]);
  const body = h("div", { class: "result" });
  let current: Stage | null = null;

  const show = async (chosen: string[]): Promise<void> => {
    current?.dispose();
    const made = stage(job.job_id, chosen);
    current = made;
    const reports = await Promise.all(chosen.map((model) => api.report(job.job_id, model).catch(() => null)));
    if (current !== made) return;
    clear(
      body,
      h(
        "div",
        { class: chosen.length > 1 ? "result-wide" : "result-grid" },
        h("section", { class: "card viewer-card", "aria-label": "The mesh" }, made.element),
        h("div", { class: "verdicts" }, chosen.map((model, index) => verdict(job, model, reports[index] ?? null, chosen.length > 1))),
      ),
      chosen.length === 1 && reports[0]
        ? compare(job.job_id, chosen[0] ?? "", reports[0], new Set(files.filter((file) => file.model === chosen[0]).map((file) => file.name)))
        : null,
      chosen.map((model) => downloads(job, model, files.filter((file) => file.model === model), chosen.length > 1)),
    );
  };

  const element = h("div", {});
  if (models.length > 1) {
    const group = newId("result");
    const tabs: [string, string[]][] = [...models.map((model): [string, string[]] => [model, [model]]), ["Side by side", models]];
    element.append(
      h(
        "fieldset",
        { class: "toggle-group model-tabs" },
        h("legend", { class: "hidden" }, "Result"),
        tabs.map(([title, chosen], index) =>
          h("label", { class: "toggle" }, h("input", { type: "radio", name: group, checked: index === tabs.length - 1, change: () => void show(chosen) }), h("span", {}, title)),
        ),
      ),
    );
  }
  element.append(body);
  void show(models);
  return { element, dispose: () => current?.dispose() };
}

function verdict(job: Job, model: string, report: Report | null, isNamed: boolean): HTMLElement {
  const known = job.quality[model] ?? {};
  const status = report?.status ?? known.status ?? "failure";
  const [word, explanation] = VERDICTS[status];
  const mean = report?.mean ?? {};
  const psnr = mean["psnr"] ?? known.psnr;
  const ssim = mean["ssim"] ?? known.ssim;
  const figures: [string, string, string][] = [];
  const add = (name: string, value: number | null | undefined, text: (value: number) => string, hint: string): void => {
    if (value !== undefined && value !== null) figures.push([name, text(value), hint]);
  };
  add("PSNR", psnr, (value) => `${value.toFixed(1)} dB`, "Likeness pixel by pixel; 25 dB and more is good");
  add("SSIM", ssim, (value) => value.toFixed(3), "Likeness of structure, 0 to 1; 0.85 and more is good");
  add("FLIP", mean["flip"], (value) => value.toFixed(3), "The difference that a person sees, 0 to 1; lower is better");
  add("Outline", mean["silhouette_iou"], (value) => `${(100 * value).toFixed(1)} %`, "Overlap of the outlines");
  add("Depth error", mean["depth_error"], (value) => `${(100 * value).toFixed(2)} %`, "Of the longest side");
  const mesh = report?.mesh;
  const facts: [string, string][] = [];
  if (mesh) {
    facts.push(["Triangles", count(mesh.faces)], ["Vertices", count(mesh.vertices)]);
    facts.push(["Closed", mesh.watertight ? "yes, watertight" : "no, it has open edges"]);
    if (mesh.components > 1) facts.push(["Pieces", String(mesh.components)]);
    if (mesh.texture_size) facts.push(["Texture", `${mesh.texture_size[0]} x ${mesh.texture_size[1]}`]);
  }
  const seconds = Object.values(report?.timings ?? {}).reduce((sum, value) => sum + value, 0);
  if (seconds > 0) facts.push(["Time", duration(seconds)]);
  if (report?.device) facts.push(["Computed on", report.device]);
  const warnings = report?.warnings ?? known.warnings ?? [];
  return h(
    "section",
    { class: "card verdict", "aria-label": isNamed ? `Quality of ${model}` : "Quality" },
    h("p", { class: "verdict-word" }, h("span", { class: `verdict-mark ${status}` }, icon(status === "normal" ? "check" : "warn", 20)), h("span", {}, word), isNamed && h("span", { class: "muted small" }, model)),
    h("p", {}, explanation),
    h("dl", { class: "figures" }, figures.map(([name, value, hint]) => h("div", { title: hint }, h("dt", {}, name), h("dd", {}, value)))),
    warnings.length > 0 && h("div", { class: "warnings" }, h("h3", {}, "Worth knowing"), h("ul", {}, warnings.map((text) => h("li", {}, text)))),
    facts.length > 0 && h("dl", { class: "facts small" }, facts.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
  );
}

function downloads(job: Job, model: string, files: FileEntry[], isNamed: boolean): HTMLElement {
  const byName = new Map(files.map((file) => [file.name, file]));
  const main = MAIN.filter(([name]) => byName.has(name));
  const others = files.filter((file) => !MAIN.some(([name]) => name === file.name));
  const row = (file: FileEntry, text: string): HTMLElement =>
    h(
      "li",
      {},
      h("a", { href: file.url, download: file.name.slice(file.name.lastIndexOf("/") + 1) }, icon("download", 15), h("span", { class: "file-name" }, file.name)),
      h("span", { class: "muted small grow" }, text),
      h("span", { class: "small size" }, bytes(file.size)),
    );
  return h(
    "section",
    { class: "card downloads", "aria-label": isNamed ? `Files of ${model}` : "Files" },
    h(
      "div",
      { class: "toolbar" },
      h("h2", {}, isNamed ? `Files of ${model}` : "Files"),
      h("span", { class: "grow" }),
      job.status === "completed" && !isNamed && h("a", { class: "button small", href: zipUrl(job.job_id), download: "" }, icon("download", 15), "All as ZIP"),
    ),
    h("ul", { class: "file-list" }, main.map(([name, text]) => row(byName.get(name) as FileEntry, text))),
    others.length > 0 && h("details", {}, h("summary", {}, `${others.length} more: previews and masks`), h("ul", { class: "file-list" }, others.map((file) => row(file, "")))),
  );
}
