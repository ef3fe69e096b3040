/** Model and quality, as the service offers them, with what each costs. */

import type { ModelOffer, Offer } from "../types";
import { h, newId } from "./dom";
import { roughly } from "./format";

const QUALITY_WORDS: Record<string, string> = { draft: "Draft", standard: "Standard", high: "High" };

export interface Choices {
  element: HTMLElement;
  model: () => string;
  quality: () => string;
  /** Whether what is chosen can run, as far as is known. */
  isReady: () => boolean;
}

export function choices(
  offer: Offer,
  chosen: { model?: string | undefined; quality?: string | undefined },
  onChange: () => void,
): Choices {
  const readyFirst = offer.models.find((model) => model.ready !== false)?.name ?? offer.default_model;
  const preferred = offer.models.find((model) => model.name === offer.default_model)?.ready === false ? readyFirst : offer.default_model;
  let model = chosen.model ?? preferred;
  let quality = chosen.quality ?? offer.default_quality;
  const group = newId("choice");
  const costs: (() => void)[] = [];
  const update = (): void => {
    costs.forEach((refresh) => refresh());
    onChange();
  };

  const models = h(
    "fieldset",
    { class: "choice" },
    h("legend", {}, "Model"),
    offer.models.map((item) => {
      const cost = h("span", { class: "cost" });
      costs.push(() => (cost.textContent = costOf(item, quality)));
      return option(
        `${group}-model`,
        item.name,
        item.name === model,
        () => {
          model = item.name;
          update();
        },
        [
          h("span", { class: "option-title" }, item.title, item.ready === false && h("span", { class: "badge warning" }, "not installed"), cost),
          h("span", { class: "option-text" }, item.summary),
          item.message && h("span", { class: "option-warning" }, item.message),
        ],
      );
    }),
  );
  const qualities = h(
    "fieldset",
    { class: "choice" },
    h("legend", {}, "Quality"),
    h(
      "div",
      { class: "segments" },
      offer.qualities.map((item) =>
        option(
          `${group}-quality`,
          item.name,
          item.name === quality,
          () => {
            quality = item.name;
            update();
          },
          [
            h("span", { class: "option-title" }, QUALITY_WORDS[item.name] ?? item.name),
            h("span", { class: "option-text" }, `${item.grid}³ cells, ${item.texture_size / 1024}k texture`),
          ],
        ),
      ),
    ),
  );
  const basis = h("p", { class: "muted small" });
  costs.push(() => {
    const isMeasured = offer.models.some((item) => item.seconds[quality] !== undefined);
    const isGuess = offer.models.some((item) => item.seconds[quality] === undefined);
    basis.textContent = [
      isMeasured && "Times: what such jobs took here lately.",
      isGuess && (isMeasured ? "Where none has run yet: beside the quickest model." : "Times are beside the quickest model's until jobs have run here."),
      offer.device && `Computed on ${offer.device}.`,
    ]
      .filter(Boolean)
      .join(" ");
  });
  costs.forEach((refresh) => refresh());
  return {
    element: h("div", { class: "choices" }, models, qualities, basis),
    model: () => model,
    quality: () => quality,
    isReady: () => offer.models.find((item) => item.name === model)?.ready !== false,
  };
}

/** Measured where jobs of this kind have run on this service, else beside the quickest. */
function costOf(model: ModelOffer, quality: string): string {
  const measured = model.seconds[quality];
  const gpu = model.vram_gb > 0 ? `, ${model.vram_gb} GB of GPU memory` : "";
  if (measured !== undefined) return `${roughly(measured)}${gpu}`;
  return `${model.relative_time.toFixed(1).replace(/\.0$/, "")}x the time${gpu}`;
}

function option(
  name: string,
  value: string,
  isChosen: boolean,
  choose: () => void,
  content: (Node | string | false)[],
): HTMLElement {
  const input = h("input", { type: "radio", name, value, checked: isChosen, change: choose });
  return h("label", { class: "option" }, input, h("span", { class: "option-body" }, ...content));
}
