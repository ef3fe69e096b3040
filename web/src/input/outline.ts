/** A thumbnail with the outline of what will probably be taken for the object, so that a bad background is seen early.

The service decides with better means; this is quick and says the same on ordinary pictures: what is transparent, or
connected to the frame and of its colour, is background. */

export interface Sketch {
  canvas: HTMLCanvasElement;
  /** Share of the frame that is object, 0 to 1. */
  share: number;
  /** Whether the outline touches the frame in more than a few pixels. */
  isCut: boolean;
}

const SIDE = 208;
const DIFFERENT = 26;

export async function sketch(file: Blob): Promise<Sketch> {
  const bitmap = await createImageBitmap(file);
  const scale = SIDE / Math.max(bitmap.width, bitmap.height);
  const width = Math.max(1, Math.round(bitmap.width * scale));
  const height = Math.max(1, Math.round(bitmap.height * scale));
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) throw new Error("no canvas");
  context.imageSmoothingQuality = "high";
  context.drawImage(bitmap, 0, 0, width, height);
  bitmap.close();
  const image = context.getImageData(0, 0, width, height);
  const mask = objectMask(image);
  let inside = 0;
  let onFrame = 0;
  mask.forEach((value, index) => {
    inside += value;
    const x = index % width;
    const y = (index - x) / width;
    if (value && (x === 0 || y === 0 || x === width - 1 || y === height - 1)) onFrame += 1;
  });
  const share = inside / mask.length;
  if (share > 0.002 && share < 0.98) drawOutline(image, mask);
  context.putImageData(image, 0, 0);
  return { canvas, share, isCut: onFrame > 12 };
}

function objectMask(image: ImageData): Uint8Array {
  const { data, width, height } = image;
  const size = width * height;
  const mask = new Uint8Array(size).fill(1);
  const isClear = (index: number): boolean => (data[4 * index + 3] ?? 255) < 128;
  const frame: number[] = [];
  for (let x = 0; x < width; x += 1) frame.push(x, size - width + x);
  for (let y = 0; y < height; y += 1) frame.push(y * width, y * width + width - 1);
  const middle = [0, 1, 2].map((channel) => {
    const values = frame.filter((index) => !isClear(index)).map((index) => data[4 * index + channel] ?? 0);
    values.sort((a, b) => a - b);
    return values[values.length >> 1] ?? 0;
  });
  const isBackground = (index: number): boolean =>
    isClear(index) || middle.every((value, channel) => Math.abs((data[4 * index + channel] ?? 0) - value) < DIFFERENT);
  const todo = frame.filter(isBackground);
  for (const index of todo) mask[index] = 0;
  for (let index = todo.pop(); index !== undefined; index = todo.pop()) {
    const x = index % width;
    const neighbours = [x > 0 ? index - 1 : -1, x < width - 1 ? index + 1 : -1, index - width, index + width];
    for (const next of neighbours) {
      if (next >= 0 && next < size && mask[next] && isBackground(next)) {
        mask[next] = 0;
        todo.push(next);
      }
    }
  }
  return mask;
}

function drawOutline({ data, width, height }: ImageData, mask: Uint8Array): void {
  const at = (x: number, y: number): number => (x < 0 || y < 0 || x >= width || y >= height ? 0 : (mask[y * width + x] ?? 0));
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const inside = at(x, y);
      let edge = false;
      for (let dy = -1; dy <= 1; dy += 1) for (let dx = -1; dx <= 1; dx += 1) edge ||= at(x + dx, y + dy) !== inside;
      if (edge) data.set(inside ? [255, 122, 51, 255] : [255, 122, 51, 150], 4 * (y * width + x));
    }
  }
}
