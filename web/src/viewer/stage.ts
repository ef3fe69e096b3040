/** One or two viewers with their controls; everything heavy is loaded when the first is shown. */

import { fileUrl } from "../api";
import { clear, h, icon, newId } from "../ui/dom";
import { count } from "../ui/format";
import { notice } from "../ui/dialog";
import type { Viewer } from "./viewer";

const LOOKS = [
  ["lit", "Lit"],
  ["unlit", "Unlit"],
  ["clay", "Clay"],
  ["normals", "Normals"],
] as const;

export interface Stage {
  element: HTMLElement;
  dispose: () => void;
}

export function stage(jobId: string, models: string[]): Stage {
  const viewers: Viewer[] = [];
  let isGone = false;
  const panes = models.map((model) => {
    const state = h("p", { class: "viewer-state", role: "status" }, "Loading the viewer…");
    const host = h("div", { class: "viewer-host", "data-state": "loading" });
    const facts = h("span", { class: "muted small" });
    const pane = h(
      "figure",
      { class: "viewer-pane" },
      host,
      state,
      models.length > 1 && h("figcaption", {}, h("strong", {}, model), " ", facts),
    );
    return { model, state, host, facts, pane };
  });
  const group = newId("look");
  const looks = h(
    "fieldset",
    { class: "toggle-group" },
    h("legend", { class: "hidden" }, "Look"),
    LOOKS.map(([look, title], index) => {
      const input = h("input", { type: "radio", name: group, value: look, checked: index === 0, change: () => viewers.forEach((viewer) => viewer.show(look)) });
      return h("label", { class: "toggle" }, input, h("span", {}, title));
    }),
  );
  const wires = h("input", { type: "checkbox", change: () => viewers.forEach((viewer) => viewer.showWires(wires.checked)) });
  const light = h("select", { "aria-label": "Environment" });
  const ar = h("div", { class: "ar" });
  const tools = h(
    "div",
    { class: "viewer-tools" },
    looks,
    h("label", { class: "toggle" }, wires, h("span", {}, "Wireframe")),
    h("label", { class: "light" }, h("span", { class: "hidden" }, "Environment"), light),
    h("span", { class: "grow" }),
    h("button", { type: "button", class: "button small", click: () => viewers.forEach((viewer) => viewer.goHome()) }, icon("reset", 15), "Reset"),
    h("button", { type: "button", class: "button small", click: () => void savePicture() }, icon("image", 15), "Save picture"),
  );
  const element = h(
    "div",
    { class: "stage" },
    h("div", { class: `panes panes-${models.length}` }, panes.map(({ pane }) => pane)),
    tools,
    h("p", { class: "muted small viewer-help" }, "Drag to turn, scroll or pinch to zoom, right-drag or two fingers to move. With the keyboard: arrows, + and -, Home."),
    ar,
  );

  async function savePicture(): Promise<void> {
    const [viewer] = viewers;
    const blob = await viewer?.picture();
    if (blob) save(blob, `meshwright-${jobId}.png`);
  }

  async function begin(): Promise<void> {
    const [{ Viewer: Kind }, { ENVIRONMENTS }] = await Promise.all([import("./viewer"), import("./environments")]);
    if (isGone) return;
    clear(light, ENVIRONMENTS.map(({ name, title }) => h("option", { value: name }, title)));
    light.addEventListener("change", () => {
      const chosen = ENVIRONMENTS.find(({ name }) => name === light.value);
      if (chosen) viewers.forEach((viewer) => viewer.light(chosen.name));
    });
    for (const { model, state, host, facts } of panes) {
      let viewer: Viewer;
      try {
        viewer = new Kind(host, `The mesh of ${model} in three dimensions`);
      } catch {
        state.textContent = "This browser shows no 3D (WebGL is off). The files can be downloaded all the same.";
        host.dataset["state"] = "failed";
        continue;
      }
      viewers[0]?.link(viewer);
      viewers.push(viewer);
      state.textContent = "Loading the mesh…";
      try {
        const { triangles } = await viewer.load(fileUrl(jobId, model, "mesh.glb"), (share) => {
          state.textContent = `Loading the mesh: ${Math.round(100 * share)} %`;
        });
        if (isGone) return;
        facts.textContent = `${count(triangles)} triangles`;
        state.hidden = true;
        host.dataset["state"] = "ready";
      } catch {
        state.textContent = "The mesh cannot be loaded.";
        host.dataset["state"] = "failed";
      }
    }
    const [first] = viewers;
    const [model] = models;
    if (first && model && panes[0]?.host.dataset["state"] === "ready") clear(ar, arLink(first, jobId, model));
  }

  void begin().catch(() => panes.forEach(({ state }) => (state.textContent = "The viewer cannot be loaded. Reload the page to try again.")));
  return {
    element,
    dispose: () => {
      isGone = true;
      viewers.forEach((viewer) => viewer.dispose());
      viewers.length = 0;
    },
  };
}

/** On phones: a way into the room. */
function arLink(viewer: Viewer, jobId: string, model: string): HTMLElement | null {
  const anchor = h("a", {});
  if (anchor.relList?.supports?.("ar")) {
    return h(
      "button",
      {
        type: "button",
        class: "button",
        click: (event) => {
          const button = event.currentTarget as HTMLButtonElement;
          button.disabled = true;
          void viewer
            .usdz()
            .then((blob) => openQuickLook(blob))
            .catch(() => notice("The mesh could not be made ready for AR.", "bad"))
            .finally(() => (button.disabled = false));
        },
      },
      icon("phone", 16),
      "View in your room (AR)",
    );
  }
  if (/Android/i.test(navigator.userAgent)) {
    const file = fileUrl(jobId, model, "mesh.glb");
    const scheme = new URL(file).protocol.replace(":", "");
    const query = new URLSearchParams({ file, mode: "ar_preferred", title: "meshwright" });
    const address = `intent://arvr.google.com/scene-viewer/1.0?${query.toString()}#Intent;scheme=${scheme};package=com.google.android.googlequicksearchbox;action=android.intent.action.VIEW;S.browser_fallback_url=${encodeURIComponent(file)};end;`;
    return h("a", { class: "button", href: address }, icon("phone", 16), "View in your room (AR)");
  }
  return null;
}

function openQuickLook(blob: Blob): void {
  const url = URL.createObjectURL(blob);
  // Quick Look opens only from a link around a picture.
  const link = h("a", { rel: "ar", href: url, download: "mesh.usdz" }, h("img", { alt: "" }));
  link.click();
  window.setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

export function save(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  window.setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
