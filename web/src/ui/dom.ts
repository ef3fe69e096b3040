/** Elements without markup in strings: nothing a file is called can become part of the page. */

type Child = Node | string | number | null | undefined | false | Child[];
type Listener = (event: Event) => void;
export type Attributes = Record<string, string | number | boolean | null | undefined | Listener>;

function fill(element: Element, attributes: Attributes, children: Child[]): void {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  append(element, children);
}

function append(element: Element, children: Child[]): void {
  for (const child of children) {
    if (Array.isArray(child)) append(element, child);
    else if (child !== null && child !== undefined && child !== false) {
      element.append(child instanceof Node ? child : String(child));
    }
  }
}

/** An element; attributes that are functions are listeners, by the event's name. */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  fill(element, attributes, children);
  return element;
}

const PATHS: Record<string, string> = {
  cube: "M12 3 20 7.500v9L12 21l-8-4.500v-9zM4 7.500l8 4.500 8-4.500M12 12v9",
  plus: "M12 5v14M5 12h14",
  list: "M8 6h12M8 12h12M8 18h12M4 6h.01M4 12h.01M4 18h.01",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2v2.500M12 19.500V22M4.900 4.900l1.800 1.800M17.300 17.300l1.800 1.800M2 12h2.500M19.500 12H22M4.900 19.100l1.800-1.800M17.300 6.700l1.800-1.800",
  moon: "M20 14.500A8.500 8.500 0 0 1 9.500 4a8.500 8.500 0 1 0 10.500 10.500z",
  key: "M12 11a4 4 0 1 1-8 0 4 4 0 0 1 8 0M12 11h9M17.500 11v3.500M21 11v2.500",
  close: "M6 6l12 12M18 6 6 18",
  check: "M4.500 12.500l5 5 10-11",
  warn: "M12 4 2.500 20h19zM12 10v4.500M12 17.500v.01",
  upload: "M12 16V4M7 9l5-5 5 5M4 16v4h16v-4",
  download: "M12 4v12M7 11l5 5 5-5M4 20h16",
  folder: "M3 6h6l2 2.500h10V19H3z",
  again: "M4 12a8 8 0 1 1 2.500 5.800M4 12V6.500M4 12h5.500",
  trash: "M4 7h16M9 7V4h6v3M6.500 7l1 13h9l1-13",
  stop: "M7 7h10v10H7z",
  reset: "M4 9V4h5M20 15v5h-5M4 4l6 6M20 20l-6-6",
  link: "M9.500 14.500l5-5M8 11 5.500 13.500a3.500 3.500 0 0 0 5 5L13 16M11 8l2.500-2.500a3.500 3.500 0 0 1 5 5L16 13",
  phone: "M7 3h10v18H7zM11 18h2",
  clock: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16M12 8v4.500l3 2",
  image: "M4 5h16v14H4zM4 16l4.500-5 4 4.500 2.500-3 5 4.500M15.500 9v.01",
};

/** A drawing that says nothing to screen readers; the text beside it does. */
export function icon(name: string, size = 18): SVGSVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  fill(svg, { viewBox: "0 0 24 24", width: size, height: size, class: "icon", "aria-hidden": "true", focusable: "false" }, []);
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", PATHS[name] ?? "");
  svg.append(path);
  return svg;
}

export function clear(element: Element, ...children: Child[]): void {
  element.replaceChildren();
  append(element, children);
}

let unique = 0;
/** An id that nothing else on the page has. */
export const newId = (prefix: string): string => `${prefix}-${(unique += 1)}`;
