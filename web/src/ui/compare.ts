/** Picture, mesh and error of each view, laid over each other and parted by a slider. */

import { fileUrl } from "../api";
import type { Report } from "../types";
import { h, newId } from "./dom";

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
    place();
  };
  range.addEventListener("input", place);

  const viewGroup = newId("view");
  const views6 = h(
    "fieldset",
    { class: "view-list" },
    h("legend", { class: "hidden" }, "View"),
    views.map((item) => {
      const { name, psnr, ssim, flip } = item.view;
      return h(
        "label",
        { class: "view-row" },
        h("input", { type: "radio", name: viewGroup, checked: item === first, change: () => { shown = item; draw(); } }),
        h(
          "span",
          { class: "view-row-body" },
          h("img", { src: fileUrl(jobId, model, `previews/input_${item.number}.webp`), alt: "", width: 44, height: 44 }),
          h("strong", {}, name),
          h("span", { class: "small" }, `${psnr.toFixed(1)} dB`),
          h("span", { class: "small muted" }, `SSIM ${ssim.toFixed(3)}, FLIP ${flip.toFixed(3)}`),
        ),
      );
    }),
  );
  const pairGroup = newId("pair");
  const pairs = h(
    "fieldset",
    { class: "toggle-group" },
    h("legend", { class: "hidden" }, "Compare"),
    PAIRS.map((item) =>
      h(
        "label",
        { class: "toggle" },
        h("input", { type: "radio", name: pairGroup, checked: item === pair, change: () => { pair = item; draw(); } }),
        h("span", {}, `${TITLES[item[0]]} | ${TITLES[item[1]]}`),
      ),
    ),
  );
  const element = h(
    "section",
    { class: "card compare", "aria-label": "Your pictures against the mesh" },
    h("h2", {}, "Your pictures against the mesh"),
    h("p", { class: "muted small" }, "Rendered from the files as delivered, seen from the cameras as fitted. Error: black is none, yellow is large."),
    h("div", { class: "compare-grid" }, h("div", { class: "compare-left" }, pairs, box), views6),
  );
  draw();
  return element;
}
