/** The twelve places of a job's pictures, what lies in them, and what is wrong with it. */

import { bytes, listed } from "../ui/format";
import { VIEWS, type Kind, type Offer, type ViewName } from "../types";
import { kindOf, matchNames, readName } from "./names";
import { sketch, type Sketch } from "./outline";
import { inspect, type Facts } from "./png";
import { pack, type Packed } from "./zip";

export interface Picture {
  path: string;
  file: File;
  facts: Facts | null;
  fault: string;
  sketch: Sketch | null;
}

export type Place = `${Kind}/${ViewName}`;
export const PLACES: Place[] = (["views", "depth"] as Kind[]).flatMap((kind) =>
  VIEWS.map((view): Place => `${kind}/${view}`),
);
export const placeName = (place: Place): string => {
  const [kind, view] = place.split("/");
  return kind === "depth" ? `depth of ${view}` : (view ?? "");
};

export interface Check {
  state: "good" | "bad" | "note" | "open";
  text: string;
}

export class Slots {
  readonly placed = new Map<Place, Picture>();
  readonly loose: Picture[] = [];
  /** How the last lot was told apart, in words. */
  remark = "";
  limits: Offer["limits"] | null = null;

  constructor(private readonly onChange: () => void) {}

  get isEmpty(): boolean {
    return this.placed.size === 0 && this.loose.length === 0;
  }

  /** Takes files in and places those whose names say where they belong. */
  async add(files: Packed[], target?: Place): Promise<void> {
    const pictures = files.map(({ path, file }): Picture => ({ path, file, facts: null, fault: "", sketch: null }));
    const [only] = pictures;
    if (target && only && pictures.length === 1) {
      this.put(target, only);
      this.remark = `${only.file.name} placed as ${placeName(target)}.`;
    } else if (pictures.length === 1 && only) {
      this.addOne(only);
    } else {
      this.addMany(pictures);
    }
    await Promise.all(pictures.map((picture) => this.judge(picture)));
  }

  private addOne(picture: Picture): void {
    const kind = kindOf(picture.path);
    const { views } = readName(picture.path);
    const said = views.length === 1 ? views[0] : undefined;
    const place = said
      ? (`${kind}/${said}` as Place)
      : PLACES.filter((next) => next.startsWith(kind)).find((next) => !this.placed.has(next));
    if (place) this.put(place, picture);
    else this.loose.push(picture);
    this.remark = place
      ? `${picture.file.name} placed as ${placeName(place)}${said ? ", by its name" : ", the next free place"}.`
      : `${picture.file.name} has no place yet.`;
  }

  private addMany(pictures: Picture[]): void {
    const byKind = new Map<Kind, Picture[]>([
      ["views", []],
      ["depth", []],
    ]);
    for (const picture of pictures) byKind.get(kindOf(picture.path))?.push(picture);
    let matched = 0;
    let byName = true;
    for (const [kind, some] of byKind) {
      const match = matchNames(some.map((picture) => picture.path));
      byName &&= match.byName || some.length === 0;
      for (const [view, index] of match.found) {
        const picture = some[index];
        if (picture) this.put(`${kind}/${view}`, picture);
        matched += 1;
      }
      for (const index of match.left) {
        const picture = some[index];
        if (picture) this.loose.push(picture);
      }
    }
    const rest = pictures.length - matched;
    this.remark =
      `${matched} of ${pictures.length} files placed by their ${byName ? "names" : "numbers or order: please check"}` +
      (rest ? `; ${rest} ${rest === 1 ? "needs" : "need"} a place` : "") +
      ".";
  }

  /** Puts a picture into a place; what lay there becomes loose. */
  put(place: Place, picture: Picture): void {
    const before = this.placed.get(place);
    if (before && before !== picture) this.loose.push(before);
    this.placed.set(place, picture);
    this.onChange();
  }

  /** Moves a picture; whatever lies in the new place comes to the old one. */
  move(picture: Picture, to: Place | null): void {
    const from = this.placeOf(picture);
    if (from) this.placed.delete(from);
    const at = this.loose.indexOf(picture);
    if (at >= 0) this.loose.splice(at, 1);
    if (to) {
      const before = this.placed.get(to);
      this.placed.set(to, picture);
      if (before && from) this.placed.set(from, before);
      else if (before) this.loose.push(before);
    } else {
      this.loose.push(picture);
    }
    this.onChange();
  }

  remove(picture: Picture): void {
    const from = this.placeOf(picture);
    if (from) this.placed.delete(from);
    const at = this.loose.indexOf(picture);
    if (at >= 0) this.loose.splice(at, 1);
    this.onChange();
  }

  clear(): void {
    this.placed.clear();
    this.loose.length = 0;
    this.remark = "";
    this.onChange();
  }

  placeOf(picture: Picture): Place | null {
    for (const [place, other] of this.placed) if (other === picture) return place;
    return null;
  }

  private async judge(picture: Picture): Promise<void> {
    try {
      picture.facts = await inspect(picture.file, this.limits);
      picture.sketch = await sketch(picture.file).catch(() => {
        throw new Error("cannot be opened: the file is damaged");
      });
    } catch (error) {
      picture.fault = error instanceof Error ? error.message : "cannot be read";
    }
    this.onChange();
  }

  count(kind: Kind): number {
    return VIEWS.filter((view) => this.placed.has(`${kind}/${view}`)).length;
  }

  missing(kind: Kind): ViewName[] {
    return VIEWS.filter((view) => !this.placed.has(`${kind}/${view}`));
  }

  /** What can be said before anything is sent. */
  checks(): Check[] {
    const views = this.count("views");
    const depth = this.count("depth");
    const all = [...this.placed.entries()];
    const checks: Check[] = [];
    if (views === 6) checks.push({ state: "good", text: "All six views are there." });
    else if (views === 0) checks.push({ state: "open", text: "Six views are needed." });
    else checks.push({ state: "bad", text: `${views} of 6 views: ${listed(this.missing("views"))} ${6 - views === 1 ? "is" : "are"} missing.` });
    if (depth === 6) checks.push({ state: "good", text: "All six depth renders are there." });
    else if (depth === 0) checks.push({ state: "open", text: "No depth renders: fine, but with them the shape comes out closer." });
    else checks.push({ state: "bad", text: `${depth} of 6 depth renders: give all six, or none. Missing: ${listed(this.missing("depth"))}.` });
    for (const [place, picture] of all) {
      if (picture.fault) checks.push({ state: "bad", text: `${placeName(place)}: ${picture.file.name} ${picture.fault}.` });
    }
    for (const picture of this.loose) {
      if (picture.fault) checks.push({ state: "note", text: `${picture.file.name} ${picture.fault}; it is not used.` });
      else checks.push({ state: "note", text: `${picture.file.name} has no place and is not used.` });
    }
    const total = all.reduce((sum, [, picture]) => sum + picture.file.size, 0);
    if (this.limits && total > this.limits.max_total_bytes) {
      checks.push({ state: "bad", text: `Together ${bytes(total)}; at most ${bytes(this.limits.max_total_bytes)} are accepted.` });
    }
    this.checkLooks(all, checks);
    if (all.length > 0 && all.every(([, picture]) => picture.facts && !picture.fault)) {
      const sizes = [...new Set(all.map(([, { facts }]) => `${facts?.width} x ${facts?.height}`))];
      checks.push({ state: "good", text: `PNG, ${listed(sizes)} pixels, ${bytes(total)} in all.` });
    }
    return checks;
  }

  private checkLooks(all: [Place, Picture][], checks: Check[]): void {
    const seen = all.filter(([place, picture]) => place.startsWith("views") && picture.sketch);
    const name = (some: [Place, Picture][]): string => listed(some.map(([place]) => placeName(place)));
    const blank = seen.filter(([, { sketch: found }]) => found && (found.share < 0.002 || found.share > 0.98));
    if (blank.length) checks.push({ state: "note", text: `Nothing stands out from the background: ${name(blank)}.` });
    const cut = seen.filter(([, { sketch: found }]) => found && found.isCut && found.share <= 0.98);
    if (cut.length) checks.push({ state: "note", text: `The object seems to be cut by the frame: ${name(cut)}.` });
  }

  get isComplete(): boolean {
    return this.count("views") === 6 && !this.checks().some((check) => check.state === "bad") && this.isJudged;
  }

  private get isJudged(): boolean {
    return [...this.placed.values()].every((picture) => picture.facts !== null);
  }

  /** What is sent: twelve files under their views' names, or, without depth, the six as an archive. */
  async form(): Promise<FormData> {
    const form = new FormData();
    const named = (place: Place, view: ViewName): File => {
      const picture = this.placed.get(place);
      if (!picture) throw new Error(`${placeName(place)} is missing`);
      return new File([picture.file], `${view}.png`, { type: "image/png" });
    };
    if (this.count("depth") === 6) {
      for (const view of VIEWS) form.append("views", named(`views/${view}`, view));
      for (const view of VIEWS) form.append("depth_renders", named(`depth/${view}`, view));
    } else {
      const files = VIEWS.map((view): Packed => ({ path: `views/${view}.png`, file: named(`views/${view}`, view) }));
      form.append("archive", await pack(files), "views.zip");
    }
    return form;
  }
}
