/** Asks for an API key where the service wants one. */

import { api, Problem } from "../api";
import { h, icon } from "../ui/dom";
import type { Page } from "./page";

export function keyPage(onDone: () => void): Page {
  const field = h("input", { id: "api-key", type: "password", name: "key", autocomplete: "off", spellcheck: "false", required: true, placeholder: "mw_…", "aria-describedby": "key-help key-fault" });
  const fault = h("p", { id: "key-fault", class: "fault-text", role: "alert" });
  const button = h("button", { type: "submit", class: "button primary" }, "Continue");
  const form = h(
    "form",
    {
      class: "card key-card",
      submit: (event) => {
        event.preventDefault();
        button.disabled = true;
        fault.textContent = "";
        api
          .signIn(field.value.trim())
          .then(onDone, (error: unknown) => {
            fault.textContent = error instanceof Problem ? error.message : String(error);
            button.disabled = false;
            field.focus();
          });
      },
    },
    icon("key", 30),
    h("h1", { tabindex: "-1", class: "title" }, "This service needs a key"),
    h("label", { for: "api-key" }, "API key"),
    field,
    fault,
    h("p", { id: "key-help", class: "muted small" }, "Whoever runs the service makes keys with ", h("code", {}, "meshwright keys create"), ". It is kept in a cookie that scripts cannot read, for this service alone."),
    button,
  );
  return { title: "Key needed", element: form, leave: () => undefined };
}
