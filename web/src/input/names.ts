/** Which view a file shows, told from its name: the rules of `meshwright.inputs.names`, so that both say the same. */

import { VIEWS, type Kind, type ViewName } from "../types";

const SYNONYMS: Record<string, ViewName> = { rear: "back", under: "bottom", underside: "bottom" };
const DEPTH_WORDS = new Set(["depth", "depths", "depthmap", "disparity"]);
const FILLERS = ["view", "side", "map", "img", "image", "render", "cam", "camera", "rgb", "rgba", "color", "colour"];
const KNOWN = [...new Set([...VIEWS, ...Object.keys(SYNONYMS), ...DEPTH_WORDS, ...FILLERS])]
  .sort()
  .sort((a, b) => b.length - a.length);
const GLUED = new RegExp(`^(?:${KNOWN.join("|")})+$`);
const ONE = new RegExp(KNOWN.join("|"), "g");

interface Reading {
  words: string[];
  views: ViewName[];
  isDepth: boolean;
  number: number | null;
}

function stem(path: string): string {
  const name = path.slice(path.lastIndexOf("/") + 1);
  const dot = name.lastIndexOf(".");
  return dot > 0 ? name.slice(0, dot) : name;
}

function wordsOf(text: string): string[] {
  const spaced = text.replace(/(?<=[a-z])(?=[A-Z])/g, " ");
  const words: string[] = [];
  for (const word of spaced.match(/\p{L}+|[0-9]+/gu) ?? []) {
    const lower = word.toLowerCase();
    if (GLUED.test(lower)) words.push(...(lower.match(ONE) ?? []));
    else words.push(lower);
  }
  return words;
}

function viewOf(word: string): ViewName | null {
  return SYNONYMS[word] ?? VIEWS.find((view) => view === word) ?? null;
}

export function readName(path: string, skip = 0): Reading {
  const words = wordsOf(stem(path)).slice(skip);
  const views = words.map(viewOf).filter((view) => view !== null);
  const numbers = words.filter((word) => /^[0-9]+$/.test(word)).map((word) => Number(word.slice(-9)));
  return {
    words,
    views: [...new Set(views)],
    isDepth: words.some((word) => DEPTH_WORDS.has(word)),
    number: numbers[numbers.length - 1] ?? null,
  };
}

/** Whether a file calls itself a depth render, by its own name or its folder's. */
export function kindOf(path: string): Kind {
  const folders = path.split("/").slice(0, -1);
  const says = readName(path).isDepth || folders.some((folder) => wordsOf(folder).some((word) => DEPTH_WORDS.has(word)));
  return says ? "depth" : "views";
}

function commonPrefix(all: string[][]): number {
  const first = all[0];
  if (!first) return 0;
  const shortest = Math.min(...all.map((words) => words.length));
  let count = 0;
  while (count < shortest && all.every((words) => words[count] === first[count])) count += 1;
  return Math.max(0, Math.min(count, shortest - 1));
}

export interface Match {
  /** Position in the list of names, per view. */
  found: Map<ViewName, number>;
  /** Positions of names that say nothing, or the same as another. */
  left: number[];
  /** Whether names said it; false: numbers or the order did. */
  byName: boolean;
}

/** Gives each view its file, as far as names say; what is left is for people to place. */
export function matchNames(paths: string[]): Match {
  let readings = paths.map((path) => readName(path));
  if (readings.some((reading) => reading.views.length > 1)) {
    const skip = commonPrefix(readings.map((reading) => reading.words));
    readings = paths.map((path) => readName(path, skip));
  }
  const found = new Map<ViewName, number>();
  const left: number[] = [];
  if (readings.every((reading) => reading.views.length === 0)) {
    if (paths.length !== VIEWS.length) return { found, left: paths.map((_, index) => index), byName: false };
    const order = byNumber(readings);
    VIEWS.forEach((view, index) => found.set(view, order[index] ?? index));
    return { found, left, byName: false };
  }
  readings.forEach((reading, index) => {
    const [view, another] = reading.views;
    if (view === undefined || another !== undefined || found.has(view)) left.push(index);
    else found.set(view, index);
  });
  return { found, left, byName: true };
}

function byNumber(readings: Reading[]): number[] {
  for (const first of [0, 1]) {
    const order = VIEWS.map((_, index) => readings.findIndex((reading) => reading.number === first + index));
    if (order.every((index) => index >= 0) && new Set(order).size === VIEWS.length) return order;
  }
  return VIEWS.map((_, index) => index);
}
