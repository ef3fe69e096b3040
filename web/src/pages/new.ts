/** Six pictures, perhaps six depth renders, and what to do with them. */

import { api, Problem, submit } from "../api";
import { fromList, fromTransfer } from "../input/gather";
import { PLACES, placeName, Slots, type Picture, type Place } from "../input/slots";
import type { Kind, Offer, ViewName } from "../types";
import { choices, type Choices } from "../ui/choices";
import { clear, h, icon } from "../ui/dom";
import type { Page } from "./page";

const LAYOUT: ViewName[] = ["top", "left", "front", "right", "back", "bottom"];

// What was chosen outlives a look at another page.
let kept: Slots | null = null;
let render: () => void = () => undefined;

export function newPage(): Page {
  kept ??= new Slots(() => render());
  const slots = kept;
  let offer: Offer | null = null;
  let choice: Choices | null = null;
  let sending: { abort: () => void; share: number } | null = null;
  let faults: string[] = [];
  let refusal: Problem | null = null;
  let key = "";

  const picker = h("input", { type: "file", multiple: true, accept: ".png,.zip,image/png,application/zip", hidden: true, "aria-hidden": "true" });
  const folderPicker = h("input", { type: "file", webkitdirectory: true, hidden: true, "aria-hidden": "true" });
  let target: Place | undefined;
  const pick = (place?: Place): void => {
    target = place;
    picker.value = "";
    picker.click();
  };
  const take = async (gathering: Promise<{ files: { path: string; file: File }[]; faults: string[] }>, place?: Place): Promise<void> => {
    const gathered = await gathering;
    faults = gathered.faults;
    refusal = null;
    key = "";
    await slots.add(gathered.files, place);
    render();
  };
  const most = (): number => offer?.limits.max_total_bytes ?? 2 ** 31;
  picker.addEventListener("change", () => void take(fromList(picker.files ?? [], most()), target));
  folderPicker.addEventListener("change", () => void take(fromList(folderPicker.files ?? [], most())));

  const boards = { views: board("views"), depth: board("depth") };
  const summary = h("p", { class: "remark", role: "status", "aria-live": "polite" });
  const table = h("div", { class: "matching" });
  const checkList = h("ul", { class: "checks" });
  const settings = h("div", { class: "settings" }, h("p", { class: "muted" }, "Asking the service what it offers…"));
  const start = h("button", { type: "button", class: "button primary large", click: () => void go() }, "Make the mesh");
  const progress = h("div", { class: "sending", role: "status", hidden: true });
  const trouble = h("div", { class: "fault", role: "alert", hidden: true });

  function board(kind: Kind): { element: HTMLElement; cells: Map<Place, HTMLElement>; count: HTMLElement } {
    const cells = new Map<Place, HTMLElement>();
    const count = h("span", { class: "count" });
    const cube = h("div", { class: "cube" });
    for (const view of LAYOUT) {
      const place: Place = `${kind}/${view}`;
      const cell = h("div", { class: `cell cell-${view}` });
      cells.set(place, cell);
      cube.append(cell);
    }
    const title = kind === "views" ? "Views" : "Depth renders";
    const element = h(
      "section",
      { class: "board", "aria-label": title },
      h("h2", {}, title, " ", kind === "depth" && h("span", { class: "muted" }, "optional"), count),
      cube,
    );
    return { element, cells, count };
  }

  // Places stay as they are while nothing in them changes, and keep their focus.
  const drawn = new Map<HTMLElement, { picture: Picture | undefined; hasSketch: boolean; fault: string | undefined }>();

  function drawCell(cell: HTMLElement, place: Place, view: string, picture: Picture | undefined): void {
    const before = drawn.get(cell);
    if (before && before.picture === picture && before.hasSketch === Boolean(picture?.sketch) && before.fault === picture?.fault) return;
    const open = h(
      "button",
      {
        type: "button",
        class: "slot",
        "data-place": place,
        "aria-label": picture
          ? `${placeName(place)}: ${picture.file.name}${picture.fault ? `, ${picture.fault}` : ""}. Choose another picture`
          : `${placeName(place)}: empty. Choose a picture`,
        click: () => pick(place),
        keydown: (event) => {
          const code = (event as KeyboardEvent).key;
          if (picture && (code === "Delete" || code === "Backspace")) slots.remove(picture);
        },
      },
      picture?.sketch ? copyOf(picture.sketch.canvas) : picture ? icon(picture.fault ? "warn" : "image", 22) : icon("plus", 18),
      h("span", { class: "slot-name" }, view),
    );
    drawn.set(cell, { picture, hasSketch: Boolean(picture?.sketch), fault: picture?.fault });
    cell.className = `cell cell-${view}${picture ? " filled" : ""}${picture?.fault ? " bad" : ""}`;
    clear(
      cell,
      open,
      picture &&
        h(
          "button",
          { type: "button", class: "remove", "aria-label": `Remove ${placeName(place)}`, click: () => slots.remove(picture) },
          icon("close", 14),
        ),
    );
    open.draggable = picture !== undefined;
    open.addEventListener("dragstart", (event) => {
      event.dataTransfer?.setData("text/x-meshwright-place", place);
    });
    open.addEventListener("dragover", (event) => {
      event.preventDefault();
      cell.classList.add("over");
    });
    open.addEventListener("dragleave", () => cell.classList.remove("over"));
    open.addEventListener("drop", (event) => {
      event.preventDefault();
      cell.classList.remove("over");
      const from = event.dataTransfer?.getData("text/x-meshwright-place") as Place | "" | undefined;
      const moved = from ? slots.placed.get(from) : undefined;
      if (moved) {
        event.stopPropagation();
        slots.move(moved, place);
      } else if (event.dataTransfer && event.dataTransfer.items.length === 1) {
        event.stopPropagation();
        body.classList.remove("dropping");
        void take(fromTransfer(event.dataTransfer, most()), place);
      }
    });
  }

  function drawTable(): void {
    const rows = [
      ...PLACES.map((place) => slots.placed.get(place)).filter((picture) => picture !== undefined),
      ...slots.loose,
    ];
    if (rows.length === 0) {
      clear(table);
      return;
    }
    const wasOpen = table.querySelector("details")?.open ?? false;
    const details = h(
      "details",
      { open: wasOpen || slots.loose.length > 0 },
      h("summary", {}, "Which file is which? ", h("span", { class: "muted" }, `${rows.length} files`)),
      h(
        "ul",
        { class: "match-list" },
        rows.map((picture) => {
          const at = slots.placeOf(picture);
          const select = h(
            "select",
            {
              "aria-label": `What ${picture.path} shows`,
              change: () => slots.move(picture, (select.value || null) as Place | null),
            },
            h("option", { value: "", selected: at === null }, "not used"),
            (["views", "depth"] as Kind[]).map((kind) => {
              const group = h("optgroup", { label: kind === "views" ? "Views" : "Depth renders" });
              for (const place of PLACES.filter((next) => next.startsWith(kind))) {
                group.append(h("option", { value: place, selected: place === at }, placeName(place)));
              }
              return group;
            }),
          );
          return h("li", { class: at ? "" : "loose" }, h("span", { class: "file-name", title: picture.path }, picture.path), select);
        }),
      ),
    );
    clear(table, details);
  }

  function drawChecks(): void {
    clear(
      checkList,
      [...faults.map((text) => ({ state: "bad" as const, text: `${text}.` })), ...slots.checks()].map((check) =>
        h(
          "li",
          { class: check.state },
          icon(check.state === "good" ? "check" : check.state === "open" ? "plus" : "warn", 16),
          h("span", {}, check.text),
        ),
      ),
    );
  }

  function drawTrouble(): void {
    trouble.hidden = refusal === null;
    if (!refusal) return;
    clear(
      trouble,
      h("strong", {}, refusal.message),
      Object.entries(refusal.fields).map(([name, text]) => h("p", {}, `${name}: ${text}`)),
      refusal.suggestion && h("p", {}, refusal.suggestion),
    );
  }

  render = (): void => {
    const focus = document.activeElement?.getAttribute("data-place");
    for (const { cells, count } of Object.values(boards)) {
      let filled = 0;
      for (const [place, cell] of cells) {
        const picture = slots.placed.get(place);
        filled += picture ? 1 : 0;
        drawCell(cell, place, place.split("/")[1] ?? "", picture);
      }
      count.textContent = `${filled} of 6`;
    }
    if (focus) body.querySelector<HTMLElement>(`[data-place="${focus}"]`)?.focus();
    summary.textContent = slots.remark;
    drawTable();
    drawChecks();
    drawTrouble();
    reset.hidden = slots.isEmpty;
    legend.hidden = ![...slots.placed.values()].some((picture) => picture.sketch);
    start.disabled = sending !== null || !slots.isComplete || !(choice?.isReady() ?? false);
    progress.hidden = sending === null;
    if (sending) {
      const percent = Math.round(100 * sending.share);
      clear(
        progress,
        h("div", { class: "bar" }, bar(percent)),
        h("span", {}, percent < 100 ? `Sending: ${percent} %` : "Sent; the service checks the pictures…"),
        h("button", { type: "button", class: "button small", click: () => sending?.abort() }, "Stop"),
      );
    }
  };

  function bar(percent: number): HTMLElement {
    const inner = h("span", {});
    inner.style.inlineSize = `${percent}%`;
    return inner;
  }

  async function go(): Promise<void> {
    if (!choice || sending) return;
    refusal = null;
    const form = await slots.form();
    form.append("model_type", choice.model());
    form.append("quality", choice.quality());
    // The same until something changes: should an answer get lost, sending again makes no second job.
    key ||= [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const { done, abort } = submit(form, key, (share) => {
      if (sending) sending.share = share;
      render();
    });
    sending = { abort, share: 0 };
    render();
    try {
      const { job_id } = await done;
      sending = null;
      slots.clear();
      location.hash = `#/jobs/${job_id}`;
    } catch (error) {
      sending = null;
      const problem = error instanceof Problem ? error : new Problem(0, "", String(error));
      refusal = problem.code === "ABORTED" ? null : problem;
      if (problem.status !== 0) key = "";
      render();
    }
  }

  async function loadOffer(): Promise<void> {
    try {
      offer = await api.options();
      slots.limits = offer.limits;
      choice = choices(offer, { model: choice?.model(), quality: choice?.quality() }, () => {
        key = "";
        render();
      });
      clear(settings, choice.element);
    } catch (error) {
      clear(
        settings,
        h("div", { class: "fault", role: "alert" }, error instanceof Error ? error.message : "", " "),
        h("button", { type: "button", class: "button small", click: () => void loadOffer() }, "Ask again"),
      );
    }
    render();
  }

  const legend = h("p", { class: "muted small legend" }, h("span", { class: "swatch" }), "What will probably be taken for the object");
  const reset = h("button", { type: "button", class: "button small quiet", click: () => { faults = []; refusal = null; slots.clear(); } }, icon("trash", 15), "Start over");
  const body = h(
    "div",
    { class: "new-page" },
    h("h1", { tabindex: "-1", class: "title" }, "Six pictures in, a textured mesh out"),
    h("p", { class: "lead" }, "Drop the six views of one object, with or without depth renders. Files are told apart by their names."),
    h(
      "div",
      { class: "new-grid" },
      h(
        "div",
        { class: "card pictures" },
        h(
          "div",
          { class: "toolbar" },
          h("button", { type: "button", class: "button", click: () => pick() }, icon("upload", 16), "Choose files or ZIP"),
          h("button", { type: "button", class: "button", click: () => { folderPicker.value = ""; folderPicker.click(); } }, icon("folder", 16), "Choose folder"),
          h("span", { class: "muted small hint" }, "or drop them here, or paste"),
          reset,
        ),
        h("div", { class: "boards" }, boards.views.element, boards.depth.element),
        legend,
        summary,
        table,
      ),
      h("div", { class: "card wishes" }, settings),
      h("div", { class: "card ready" }, h("h2", {}, "Before you start"), checkList, trouble, progress, start),
    ),
    picker,
    folderPicker,
  );

  let depth = 0;
  body.addEventListener("dragenter", (event) => {
    event.preventDefault();
    depth += 1;
    body.classList.add("dropping");
  });
  body.addEventListener("dragleave", () => {
    depth = Math.max(0, depth - 1);
    if (depth === 0) body.classList.remove("dropping");
  });
  body.addEventListener("dragover", (event) => event.preventDefault());
  body.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    body.classList.remove("dropping");
    if (event.dataTransfer) void take(fromTransfer(event.dataTransfer, most()));
  });
  const onPaste = (event: ClipboardEvent): void => {
    if (!event.clipboardData || event.clipboardData.files.length === 0) return;
    event.preventDefault();
    const focused = document.activeElement?.getAttribute("data-place") as Place | null;
    void take(fromList(event.clipboardData.files, most()), focused ?? undefined);
  };
  document.addEventListener("paste", onPaste);

  void loadOffer();
  // Weights may be installed, and workers come, while the page is open.
  const timer = window.setInterval(() => {
    if (offer === null || offer.models.some((model) => model.ready === null)) void loadOffer();
  }, 5000);
  render();
  return {
    title: "New job",
    element: body,
    leave: () => {
      document.removeEventListener("paste", onPaste);
      window.clearInterval(timer);
      sending?.abort();
      render = () => undefined;
    },
  };
}

function copyOf(canvas: HTMLCanvasElement): HTMLCanvasElement {
  const copy = h("canvas", { width: canvas.width, height: canvas.height, "aria-hidden": "true" });
  copy.getContext("2d")?.drawImage(canvas, 0, 0);
  return copy;
}
