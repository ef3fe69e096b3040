/** Picture, mesh and error of each view, laid over each other and parted by a slider. */

import { fileUrl } from "../api";
import type { Report } from "../types";
import { clear, h, newId } from "./dom";

const TITLES = { input: "Your picture", render: "Mesh", error: "Error" } as const;
type Layer = keyof typeof TITLES;
const PAIRS: [Layer, Layer][] = [
  ["input", "render"],
  ["input", "error"],
  ["render", "error"],
];

export function compare(jobId: string, model: string, report: Report, names: Set<string>): HTMLElement | null {
  const views = (report.views ?? [])
    .map((view, index) => ({ view, number: String(index).padStart(2, "0") }))
    .filter(({ number }) => names.has(`previews/input_${number}.webp`) && names.has(`previews/error_${number}.webp`));
  const [first] = views;
  if (!first) return null;
  let shown = first;
  let pair = PAIRS[0] as [Layer, Layer];

  const under = h("img", { alt: "" });
  const over = h("img", { alt: "", class: "over" });
  const left = h("span", { class: "tag left" });
  const right = h("span", { class: "tag right" });
  const line = h("span", { class: "split" });
  const range = h("input", { type: "range", min: 0, max: 100, value: 50, step: 1, "aria-label": "How much of the left picture is shown" });
  const figures = h("dl", { class: "figures small" });
  const box = h("div", { class: "compare-box" }, under, over, line, left, right, range);
  const source = (layer: Layer): string => fileUrl(jobId, model, `previews/${layer}_${shown.number}.webp`);

  const place = (): void => {
    const at = Number(range.value);
    over.style.clipPath = `inset(0 ${100 - at}% 0 0)`;
    line.style.insetInlineStart = `${at}%`;
    range.setAttribute("aria-valuetext", `${at} % ${TITLES[pair[0]]}, ${100 - at} % ${TITLES[pair[1]]}`);
  };
  const draw = (): void => {
    over.src = source(pair[0]);
    under.src = source(pair[1]);
    over.alt = `${TITLES[pair[0]]}, ${shown.view.name}`;
    under.alt = `${TITLES[pair[1]]}, ${shown.view.name}`;
    left.textContent = TITLES[pair[0]];
    right.textContent = TITLES[pair[1]];
    const { psnr, ssim, flip, silhouette_iou } = shown.view;
    clear(
      figures,
      ([
        ["PSNR", `${psnr.toFixed(1)} dB`],
        ["SSIM", ssim.toFixed(3)],
        ["FLIP", flip.toFixed(3)],
        ["Outline", `${(100 * silhouette_iou).toFixed(1)} %`],
      ] as const).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))),
    );
    place();
  };
  range.addEventListener("input", place);

  const radios = (legend: string, items: { title: string; picture?: string; choose: () => void }[], kind: string): HTMLElement => {
    const group = newId(kind);
    return h(
      "fieldset",
      { class: `toggle-group ${kind}` },
      h("legend", { class: "hidden" }, legend),
      items.map((item, index) =>
        h(
          "label",
          { class: "toggle" },
          h("input", { type: "radio", name: group, checked: index === 0, change: () => { item.choose(); draw(); } }),
          h("span", {}, item.picture && h("img", { src: item.picture, alt: "", loading: "lazy" }), item.title),
        ),
      ),
    );
  };
  const element = h(
    "section",
    { class: "card compare", "aria-label": "Your pictures against the mesh" },
    h("h2", {}, "Your pictures against the mesh"),
    h("p", { class: "muted small" }, "Rendered from the files as delivered, seen from the cameras as fitted. Error: black is none, yellow is large."),
    radios(
      "View",
      views.map((item) => ({
        title: item.view.name,
        picture: fileUrl(jobId, model, `previews/input_${item.number}.webp`),
        choose: () => (shown = item),
      })),
      "view-tabs",
    ),
    radios(
      "Compare",
      PAIRS.map((item) => ({ title: `${TITLES[item[0]]} | ${TITLES[item[1]]}`, choose: () => (pair = item) })),
      "pair-tabs",
    ),
    box,
    figures,
  );
  draw();
  return element;
}
