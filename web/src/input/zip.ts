/** Just enough of ZIP: look into one that was dropped, and pack six pictures when there is no depth. */

export interface Packed {
  path: string;
  file: File;
}

const MOST_ENTRIES = 500;

/** The PNG files of an archive; throws what is wrong with it, in words that follow its name. */
export async function unpack(archive: Blob, mostBytes: number): Promise<Packed[]> {
  const data = new DataView(await archive.arrayBuffer());
  const end = findEnd(data);
  const entries = data.getUint16(end + 10, true);
  let at = data.getUint32(end + 16, true);
  if (entries > MOST_ENTRIES) throw new Error(`holds ${entries} entries, which is far too many`);
  const found: Packed[] = [];
  let total = 0;
  for (let index = 0; index < entries; index += 1) {
    if (at + 46 > data.byteLength || data.getUint32(at, true) !== 0x02014b50) throw new Error("is damaged");
    const flags = data.getUint16(at + 8, true);
    const method = data.getUint16(at + 10, true);
    const packedSize = data.getUint32(at + 20, true);
    const size = data.getUint32(at + 24, true);
    const nameLength = data.getUint16(at + 28, true);
    const path = new TextDecoder().decode(new Uint8Array(data.buffer, at + 46, nameLength)).replaceAll("\\", "/");
    const header = data.getUint32(at + 42, true);
    at += 46 + nameLength + data.getUint16(at + 30, true) + data.getUint16(at + 32, true);
    if (!isPicture(path)) continue;
    if (flags & 1) throw new Error("is encrypted");
    total += size;
    if (total > mostBytes) throw new Error("unpacks to more than the service accepts");
    const start = header + 30 + data.getUint16(header + 26, true) + data.getUint16(header + 28, true);
    const raw = new Blob([new Uint8Array(data.buffer, start, packedSize)]);
    const name = path.slice(path.lastIndexOf("/") + 1);
    found.push({ path, file: new File([await inflate(raw, method, size)], name, { type: "image/png" }) });
  }
  if (found.length === 0) throw new Error("holds no PNG");
  return found;
}

/** Whether a path is that of a picture that somebody meant: not a Mac's shadow files, not a hidden one. */
export function isPicture(path: string): boolean {
  const name = path.slice(path.lastIndexOf("/") + 1);
  return /\.png$/i.test(name) && !name.startsWith(".") && !path.startsWith("__MACOSX/");
}

function findEnd(data: DataView): number {
  for (let at = data.byteLength - 22; at >= Math.max(0, data.byteLength - 65_557); at -= 1) {
    if (data.getUint32(at, true) === 0x06054b50) return at;
  }
  throw new Error("is not a ZIP, or not whole");
}

async function inflate(raw: Blob, method: number, size: number): Promise<Blob> {
  if (method === 0) return raw;
  if (method !== 8) throw new Error("is packed in a way that browsers do not know");
  const reader = raw.stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const parts: BlobPart[] = [];
  let come = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return new Blob(parts);
    come += value.byteLength;
    if (come > size) throw new Error("is damaged: a file is longer than it says");
    parts.push(value as BlobPart);
  }
}

const TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0xedb88320 : value >>> 1;
  return value >>> 0;
});

function crc32(data: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of data) value = (TABLE[(value ^ byte) & 255] ?? 0) ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

/** A ZIP that stores files as they are: PNG cannot be packed further. */
export async function pack(files: Packed[]): Promise<Blob> {
  const parts: BlobPart[] = [];
  const directory: BlobPart[] = [];
  let offset = 0;
  let length = 0;
  for (const { path, file } of files) {
    const data = new Uint8Array(await file.arrayBuffer());
    const name = new TextEncoder().encode(path);
    const fields = new DataView(new ArrayBuffer(26));
    fields.setUint16(0, 20, true); // version
    fields.setUint32(10, crc32(data), true);
    fields.setUint32(14, data.length, true);
    fields.setUint32(18, data.length, true);
    fields.setUint16(22, name.length, true);
    const entry = new Uint8Array(46 + name.length);
    const view = new DataView(entry.buffer);
    view.setUint32(0, 0x02014b50, true);
    view.setUint16(4, 20, true);
    entry.set(new Uint8Array(fields.buffer), 6);
    view.setUint32(42, offset, true);
    entry.set(name, 46);
    parts.push(new Uint8Array([0x50, 0x4b, 3, 4]), fields.buffer, name, data);
    directory.push(entry);
    offset += 30 + name.length + data.length;
    length += entry.length;
  }
  const end = new DataView(new ArrayBuffer(22));
  end.setUint32(0, 0x06054b50, true);
  end.setUint16(8, files.length, true);
  end.setUint16(10, files.length, true);
  end.setUint32(12, length, true);
  end.setUint32(16, offset, true);
  return new Blob([...parts, ...directory, end.buffer], { type: "application/zip" });
}
