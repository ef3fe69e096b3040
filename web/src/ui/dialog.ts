/** Questions, and short notices that come and go. */

import { h, icon, newId } from "./dom";

/** Shows a dialog until it is answered; false where it was dismissed. */
export function ask(options: {
  title: string;
  body: (Node | string)[];
  yes: string;
  no: string;
  isDangerous?: boolean;
  /** Runs before the dialog closes; what it throws is shown and the dialog stays. */
  onYes?: () => Promise<void>;
}): Promise<boolean> {
  return new Promise((resolve) => {
    const title = newId("dialog");
    const fault = h("p", { class: "fault", role: "alert", hidden: true });
    const yes = h("button", { type: "submit", class: options.isDangerous ? "button danger" : "button primary" }, options.yes);
    const no = h("button", { type: "button", class: "button", click: () => dialog.close() }, options.no);
    let answer = false;
    const form = h(
      "form",
      {
        method: "dialog",
        submit: (event) => {
          event.preventDefault();
          yes.disabled = true;
          void (options.onYes?.() ?? Promise.resolve())
            .then(() => {
              answer = true;
              dialog.close();
            })
            .catch((error: unknown) => {
              fault.hidden = false;
              fault.textContent = error instanceof Error ? error.message : String(error);
              yes.disabled = false;
            });
        },
      },
      h("h2", { id: title }, options.title),
      h("div", { class: "dialog-body" }, ...options.body),
      fault,
      h("div", { class: "dialog-actions" }, no, yes),
    );
    const dialog = h("dialog", { "aria-labelledby": title, class: "dialog" }, form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

let place: HTMLElement | null = null;

/** A sentence that is read out and goes by itself. */
export function notice(text: string, kind: "good" | "bad" = "good"): void {
  place ??= document.body.appendChild(h("div", { class: "notices", role: "status", "aria-live": "polite" }));
  const note = h("div", { class: `notice ${kind}` }, icon(kind === "good" ? "check" : "warn"), h("span", {}, text));
  place.append(note);
  window.setTimeout(() => note.remove(), 6000);
}
