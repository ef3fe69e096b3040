/** What can be said of a picture before it is sent: is it a PNG, how large, and how deep? */

import { bytes, count } from "../ui/format";

export interface Facts {
  width: number;
  height: number;
  bits: number;
  hasAlpha: boolean;
}

const SIGNATURES: [string, number[]][] = [
  ["a JPEG", [0xff, 0xd8, 0xff]],
  ["a GIF", [0x47, 0x49, 0x46]],
  ["a TIFF", [0x49, 0x49, 0x2a]],
  ["a TIFF", [0x4d, 0x4d, 0x00, 0x2a]],
  ["a WebP", [0x52, 0x49, 0x46, 0x46]],
  ["a PDF", [0x25, 0x50, 0x44, 0x46]],
  ["a ZIP", [0x50, 0x4b, 0x03, 0x04]],
  ["an OpenEXR picture", [0x76, 0x2f, 0x31, 0x01]],
];
const PNG = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];

const starts = (data: Uint8Array, mark: number[]): boolean => mark.every((byte, index) => data[index] === byte);

/** The header's facts; throws what is wrong, in words that follow the file's name. */
export async function inspect(
  file: Blob,
  limits: { max_file_bytes: number; max_pixels: number } | null,
): Promise<Facts> {
  if (file.size === 0) throw new Error("is empty");
  if (limits && file.size > limits.max_file_bytes) {
    throw new Error(`has ${bytes(file.size)}; at most ${bytes(limits.max_file_bytes)} are accepted`);
  }
  const head = new Uint8Array(await file.slice(0, 33).arrayBuffer());
  if (!starts(head, PNG)) {
    const other = SIGNATURES.find(([, mark]) => starts(head, mark));
    throw new Error(other ? `is ${other[0]}; PNG is needed` : "is not a picture; PNG is needed");
  }
  if (head.length < 33) throw new Error("is cut off");
  const view = new DataView(head.buffer);
  const [width, height] = [view.getUint32(16), view.getUint32(20)];
  const colour = head[25] ?? 0;
  if (limits && width * height > limits.max_pixels) {
    throw new Error(`has ${count(width)} x ${count(height)} pixels; at most ${count(limits.max_pixels)} are accepted`);
  }
  if (width < 16 || height < 16) throw new Error(`has only ${width} x ${height} pixels`);
  return { width, height, bits: head[24] ?? 8, hasAlpha: colour === 4 || colour === 6 };
}
