/** Files from wherever they come: dropped, chosen, pasted; whole folders and ZIPs are opened. */

import { isPicture, unpack, type Packed } from "./zip";

export interface Gathered {
  files: Packed[];
  /** Sentences about what could not be taken. */
  faults: string[];
}

const MOST_FILES = 400;

export async function fromTransfer(transfer: DataTransfer, mostBytes: number): Promise<Gathered> {
  // Entries must be taken before anything is waited for: the browser forgets them.
  const entries = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const files: Packed[] = [];
  for (const entry of entries) {
    if (entry instanceof File) files.push({ path: entry.name, file: entry });
    else if (entry) await walk(entry, "", files);
  }
  return open(files.length ? files : [...transfer.files].map((file) => ({ path: file.name, file })), mostBytes);
}

export function fromList(list: Iterable<File>, mostBytes: number): Promise<Gathered> {
  return open([...list].map((file) => ({ path: file.webkitRelativePath || file.name, file })), mostBytes);
}

async function walk(entry: FileSystemEntry, folder: string, found: Packed[]): Promise<void> {
  if (found.length >= MOST_FILES) return;
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject));
    found.push({ path: folder + entry.name, file });
    return;
  }
  const reader = (entry as FileSystemDirectoryEntry).createReader();
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (some.length === 0) return;
    for (const next of some) await walk(next, `${folder}${entry.name}/`, found);
  }
}

async function open(files: Packed[], mostBytes: number): Promise<Gathered> {
  const found: Packed[] = [];
  const faults: string[] = [];
  for (const item of files) {
    if (/\.zip$/i.test(item.path)) {
      try {
        found.push(...(await unpack(item.file, mostBytes)));
      } catch (error) {
        faults.push(`${item.file.name} ${error instanceof Error ? error.message : "cannot be opened"}`);
      }
    } else if (!item.path.includes("/") || isPicture(item.path)) {
      found.push(item); // a file given by itself is judged; what else lies in a folder is not meant
    }
  }
  found.sort((a, b) => (a.path.includes("/") && b.path.includes("/") ? a.path.localeCompare(b.path, "en", { numeric: true }) : 0));
  return { files: found, faults };
}
