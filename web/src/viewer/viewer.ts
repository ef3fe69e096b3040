/** The mesh, to be turned around. Draws only when something has changed, so an idle page costs nothing. */

import {
  Box3,
  DoubleSide,
  Group,
  Mesh,
  MeshBasicMaterial,
  MeshNormalMaterial,
  MeshStandardMaterial,
  NeutralToneMapping,
  NoToneMapping,
  PerspectiveCamera,
  Scene,
  Sphere,
  Spherical,
  Vector3,
  WebGLRenderer,
  type Material,
  type Texture,
} from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
import { GLTFLoader } from "three/examples/jsm/loaders/GLTFLoader.js";
import { environment, type EnvironmentName } from "./environments";

export type Look = "lit" | "unlit" | "clay" | "normals";

const TURN = Math.PI / 24;

export class Viewer {
  readonly canvas: HTMLCanvasElement;
  private readonly renderer: WebGLRenderer;
  private readonly scene = new Scene();
  private readonly camera = new PerspectiveCamera(30, 1, 0.01, 100);
  private readonly controls: OrbitControls;
  private readonly watch: ResizeObserver;
  private readonly wires = new Group();
  private model: Group | null = null;
  private readonly originals = new Map<Mesh, MeshStandardMaterial>();
  private readonly maps = new Map<EnvironmentName, Texture>();
  private friends: Viewer[] = [];
  private frame = 0;
  private look: Look = "lit";
  private home = { position: new Vector3(), target: new Vector3() };

  /** Throws where the browser has no WebGL. */
  constructor(private readonly host: HTMLElement, label: string) {
    this.renderer = new WebGLRenderer({ antialias: true, alpha: true });
    this.canvas = this.renderer.domElement;
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", label);
    host.append(this.canvas);
    this.controls = new OrbitControls(this.camera, this.canvas);
    this.controls.enableDamping = true;
    this.controls.dampingFactor = 0.12;
    this.controls.addEventListener("change", () => this.draw(true));
    this.canvas.addEventListener("keydown", (event) => this.onKey(event));
    this.canvas.addEventListener("dblclick", () => this.goHome());
    this.scene.add(this.wires);
    this.wires.visible = false;
    this.watch = new ResizeObserver(() => this.fit());
    this.watch.observe(host);
    this.fit();
    this.light("studio");
  }

  async load(url: string, onProgress: (share: number) => void): Promise<{ triangles: number }> {
    const gltf = await new GLTFLoader().loadAsync(url, (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    this.model = gltf.scene;
    let triangles = 0;
    this.model.traverse((object) => {
      if (!(object instanceof Mesh)) return;
      const mesh = object as Mesh;
      triangles += (mesh.geometry.index?.count ?? mesh.geometry.getAttribute("position").count) / 3;
      if (!mesh.geometry.getAttribute("normal")) mesh.geometry.computeVertexNormals();
      this.originals.set(mesh, standard(mesh.material));
      const wire = new Mesh(mesh.geometry, new MeshBasicMaterial({ wireframe: true, color: 0x101418, transparent: true, opacity: 0.45 }));
      wire.applyMatrix4(mesh.matrixWorld);
      this.wires.add(wire);
    });
    this.scene.add(this.model);
    this.frameModel();
    this.show(this.look);
    return { triangles };
  }

  show(look: Look): void {
    this.look = look;
    for (const [mesh, original] of this.originals) {
      const material: Material = materialFor(look, original);
      // So that lines lie in front of the faces they belong to.
      material.polygonOffset = true;
      material.polygonOffsetFactor = 1;
      material.polygonOffsetUnits = 1;
      mesh.material = material;
    }
    this.renderer.toneMapping = look === "lit" || look === "clay" ? NeutralToneMapping : NoToneMapping;
    this.draw();
  }

  showWires(are: boolean): void {
    this.wires.visible = are;
    this.draw();
  }

  light(name: EnvironmentName): void {
    let map = this.maps.get(name);
    if (!map) {
      map = environment(this.renderer, name);
      this.maps.set(name, map);
    }
    this.scene.environment = map;
    this.draw();
  }

  /** From here on this viewer and the other look from the same place. */
  link(other: Viewer): void {
    this.friends.push(other);
    other.friends.push(this);
  }

  goHome(): void {
    this.camera.position.copy(this.home.position);
    this.controls.target.copy(this.home.target);
    this.controls.update();
    this.draw(true);
  }

  /** The picture as it stands, as PNG. */
  picture(): Promise<Blob | null> {
    this.renderer.render(this.scene, this.camera);
    return new Promise((resolve) => this.canvas.toBlob(resolve, "image/png"));
  }

  /** The mesh for iPhones and iPads to place in a room. */
  async usdz(): Promise<Blob> {
    if (!this.model) throw new Error("Nothing is loaded yet.");
    const { USDZExporter } = await import("three/examples/jsm/exporters/USDZExporter.js");
    const look = this.look;
    this.show("lit");
    try {
      const data = await new USDZExporter().parseAsync(this.model);
      return new Blob([data as BlobPart], { type: "model/vnd.usdz+zip" });
    } finally {
      this.show(look);
    }
  }

  dispose(): void {
    cancelAnimationFrame(this.frame);
    this.watch.disconnect();
    this.controls.dispose();
    for (const friend of this.friends) friend.friends = friend.friends.filter((other) => other !== this);
    for (const [mesh, material] of this.originals) {
      material.map?.dispose();
      material.dispose();
      mesh.geometry.dispose();
    }
    for (const map of this.maps.values()) map.dispose();
    this.renderer.dispose();
    this.renderer.forceContextLoss();
    this.canvas.remove();
  }

  private frameModel(): void {
    if (!this.model) return;
    const box = new Box3().setFromObject(this.model);
    const sphere = box.getBoundingSphere(new Sphere());
    const distance = (1.12 * sphere.radius) / Math.sin((this.camera.fov * Math.PI) / 360);
    const wide = Math.max(1, 1 / this.camera.aspect);
    this.home.target.copy(sphere.center);
    this.home.position.copy(sphere.center).add(new Vector3(0.62, 0.36, 0.9).normalize().multiplyScalar(distance * wide));
    this.camera.near = distance / 100;
    this.camera.far = distance * 20;
    this.camera.updateProjectionMatrix();
    this.controls.minDistance = sphere.radius * 0.3;
    this.controls.maxDistance = distance * 5;
    this.goHome();
  }

  private fit(): void {
    const { clientWidth: width, clientHeight: height } = this.host;
    if (width === 0 || height === 0) return;
    this.renderer.setPixelRatio(Math.min(2, window.devicePixelRatio));
    this.renderer.setSize(width, height, false);
    this.camera.aspect = width / height;
    this.camera.updateProjectionMatrix();
    this.draw();
  }

  private onKey(event: KeyboardEvent): void {
    const offset = this.camera.position.clone().sub(this.controls.target);
    const place = new Spherical().setFromVector3(offset);
    switch (event.key) {
      case "ArrowLeft":
        place.theta -= TURN;
        break;
      case "ArrowRight":
        place.theta += TURN;
        break;
      case "ArrowUp":
        place.phi -= TURN;
        break;
      case "ArrowDown":
        place.phi += TURN;
        break;
      case "+":
      case "=":
        place.radius *= 0.9;
        break;
      case "-":
        place.radius /= 0.9;
        break;
      case "Home":
        this.goHome();
        return;
      default:
        return;
    }
    event.preventDefault();
    place.makeSafe();
    this.camera.position.copy(this.controls.target).add(new Vector3().setFromSpherical(place));
    this.controls.update();
    this.draw(true);
  }

  private draw(isMove = false): void {
    if (isMove) for (const friend of this.friends) friend.follow(this);
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.controls.update(); // with damping it goes on moving for a while, and asks to be drawn again
      this.renderer.render(this.scene, this.camera);
    });
  }

  private follow(other: Viewer): void {
    if (this.camera.position.equals(other.camera.position) && this.controls.target.equals(other.controls.target)) return;
    this.camera.position.copy(other.camera.position);
    this.controls.target.copy(other.controls.target);
    this.camera.lookAt(this.controls.target);
    this.draw();
  }
}

/** What a file's material comes down to: a colour map, perhaps roughness and normals. */
function standard(material: Material | Material[]): MeshStandardMaterial {
  const [first] = Array.isArray(material) ? material : [material];
  if (first instanceof MeshStandardMaterial) return first;
  const made = new MeshStandardMaterial({ roughness: 1, side: DoubleSide });
  if (first instanceof MeshBasicMaterial) {
    made.map = first.map;
    made.color.copy(first.color);
    made.vertexColors = first.vertexColors;
  }
  return made;
}

function materialFor(look: Look, original: MeshStandardMaterial): Material {
  switch (look) {
    case "lit":
      return original;
    case "unlit":
      return new MeshBasicMaterial({ map: original.map, color: original.color, vertexColors: original.vertexColors, side: original.side });
    case "clay":
      return new MeshStandardMaterial({ color: 0xcfc9c0, roughness: 0.75, side: original.side });
    case "normals":
      return new MeshNormalMaterial({ side: original.side });
  }
}
