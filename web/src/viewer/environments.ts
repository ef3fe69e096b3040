/** Light for the viewer, made here instead of loaded: small scenes that are turned into environment maps. */

import {
  BackSide,
  BufferAttribute,
  Color,
  Mesh,
  MeshBasicMaterial,
  PMREMGenerator,
  Scene,
  SphereGeometry,
  type Texture,
  type WebGLRenderer,
} from "three";
import { RoomEnvironment } from "three/examples/jsm/environments/RoomEnvironment.js";

export const ENVIRONMENTS = [
  { name: "studio", title: "Studio" },
  { name: "overcast", title: "Overcast sky" },
  { name: "sunset", title: "Low sun" },
] as const;
export type EnvironmentName = (typeof ENVIRONMENTS)[number]["name"];

/** A dome from ground over horizon to zenith, and perhaps a sun. */
function dome(ground: number, horizon: number, zenith: number, strength: number, sun?: { colour: number; strength: number }): Scene {
  const geometry = new SphereGeometry(10, 48, 32);
  const place = geometry.getAttribute("position");
  const colours = new Float32Array(place.count * 3);
  const [low, middle, high] = [new Color(ground), new Color(horizon), new Color(zenith)];
  for (let index = 0; index < place.count; index += 1) {
    const up = place.getY(index) / 10;
    const colour = up < 0 ? middle.clone().lerp(low, Math.min(1, -up * 4)) : middle.clone().lerp(high, Math.sqrt(up));
    colour.multiplyScalar(strength).toArray(colours, 3 * index);
  }
  geometry.setAttribute("color", new BufferAttribute(colours, 3));
  const scene = new Scene();
  scene.add(new Mesh(geometry, new MeshBasicMaterial({ vertexColors: true, side: BackSide })));
  if (sun) {
    const ball = new Mesh(
      new SphereGeometry(1.1, 24, 16),
      new MeshBasicMaterial({ color: new Color(sun.colour).multiplyScalar(sun.strength) }),
    );
    ball.position.set(6, 3.2, 5);
    scene.add(ball);
  }
  return scene;
}

export function environment(renderer: WebGLRenderer, name: EnvironmentName): Texture {
  const generator = new PMREMGenerator(renderer);
  const scene =
    name === "studio"
      ? new RoomEnvironment()
      : name === "overcast"
        ? dome(0x6f6a63, 0xe9eef2, 0xcfdcea, 1.35)
        : dome(0x2b2622, 0xffc48a, 0x51699c, 0.8, { colour: 0xffd09a, strength: 45 });
  const texture = generator.fromScene(scene, 0.03, 0.1, 100, { size: 128 }).texture;
  generator.dispose();
  return texture;
}
