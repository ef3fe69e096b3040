/** The frame around the pages: header, theme, key, and which page an address means. */

import { api, address, onUnauthorized } from "./api";
import { jobPage } from "./pages/job";
import { jobsPage } from "./pages/jobs";
import { keyPage } from "./pages/key";
import { newPage } from "./pages/new";
import type { Page } from "./pages/page";
import { clear, h, icon } from "./ui/dom";

const main = document.querySelector<HTMLElement>("#main");
const top = document.querySelector<HTMLElement>("#top");
if (!main || !top) throw new Error("the page is not whole");
const place = main;

let page: Page | null = null;
let isKeyNeeded = false;
let isFirst = true;

const links = { new: h("a", { href: "#/" }, icon("plus"), "New"), jobs: h("a", { href: "#/jobs" }, icon("list"), "Jobs") };
const state = h("span", { class: "service-state", role: "status" });
const leave = h("button", { type: "button", class: "icon-button", hidden: true, "aria-label": "Forget the API key", title: "Forget the API key", click: () => void api.signOut().then(start) }, icon("key"));
const theme = h("button", { type: "button", class: "icon-button", "aria-label": "Dark or light", title: "Dark or light", click: switchTheme }, icon("moon"));
clear(
  top,
  h("div", { class: "top-inner" }, h("a", { class: "brand", href: "#/", "aria-label": "meshwright, new job" }, h("img", { src: "./favicon.svg", alt: "", width: 26, height: 26 }), h("span", {}, "meshwright")), h("nav", { "aria-label": "Pages" }, links.new, links.jobs), h("span", { class: "grow" }), state, h("a", { class: "api-link", href: address("docs") }, "API"), leave, theme),
);

function isDark(): boolean {
  const chosen = document.documentElement.dataset["theme"];
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function switchTheme(): void {
  const next = isDark() ? "light" : "dark";
  document.documentElement.dataset["theme"] = next;
  try {
    localStorage.setItem("theme", next);
  } catch {
    // Private windows may refuse; the choice then holds until the page is left.
  }
  drawTheme();
}

function drawTheme(): void {
  clear(theme, icon(isDark() ? "sun" : "moon"));
}

function find(): Page {
  if (isKeyNeeded) return keyPage(start);
  const path = location.hash.replace(/^#/, "");
  const job = /^\/jobs\/([a-z0-9]{8})$/.exec(path)?.[1];
  if (job) return jobPage(job);
  return path === "/jobs" ? jobsPage() : newPage();
}

function go(): void {
  page?.leave();
  page = find();
  clear(place, page.element);
  document.title = `${page.title} - meshwright`;
  const isJobs = location.hash.startsWith("#/jobs");
  links.new.toggleAttribute("aria-current", false);
  links.jobs.toggleAttribute("aria-current", false);
  (isJobs ? links.jobs : links.new).setAttribute("aria-current", "page");
  window.scrollTo(0, 0);
  // After a change of page, not on the first load, reading goes on at the new heading.
  if (!isFirst) (place.querySelector<HTMLElement>("h1") ?? place).focus({ preventScroll: true });
  isFirst = false;
}

async function start(): Promise<void> {
  try {
    const session = await api.session();
    isKeyNeeded = !session.signed_in;
    leave.hidden = !session.keys_required || !session.signed_in;
    if (session.name) leave.title = `Forget the API key "${session.name}"`;
  } catch {
    isKeyNeeded = false; // the pages themselves say that the service is away
  }
  go();
}

async function look(): Promise<void> {
  let words = "";
  let kind = "";
  try {
    await api.ready();
    [words, kind] = ["Ready", "good"];
  } catch (error) {
    const isAway = error instanceof Error && "status" in error && error.status === 0;
    [words, kind] = isAway ? ["Not reached", "bad"] : ["Not ready", "bad"];
  }
  state.className = `service-state ${kind}`;
  if (state.textContent !== words) state.textContent = words;
}

onUnauthorized.call = () => {
  if (isKeyNeeded) return;
  isKeyNeeded = true;
  leave.hidden = true;
  go();
};
try {
  const kept = localStorage.getItem("theme");
  if (kept === "dark" || kept === "light") document.documentElement.dataset["theme"] = kept;
} catch {
  // The system's choice holds.
}
drawTheme();
window.addEventListener("hashchange", go);
// A file that misses its place must not replace the page.
for (const name of ["dragover", "drop"]) window.addEventListener(name, (event) => event.preventDefault());
void start();
void look();
window.setInterval(() => {
  if (!document.hidden) void look();
}, 10_000);
