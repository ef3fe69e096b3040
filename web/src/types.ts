/** What the API answers; see docs/api.md. */

export const VIEWS = ["front", "back", "left", "right", "top", "bottom"] as const;
export type ViewName = (typeof VIEWS)[number];
export type Kind = "views" | "depth";

export type Status = "queued" | "processing" | "completed" | "failed" | "cancelled";

export interface Quality {
  status?: "normal" | "warning" | "failure";
  summary?: string;
  warnings?: string[];
  psnr?: number | null;
  ssim?: number | null;
}

export interface Job {
  job_id: string;
  status: Status;
  progress: number;
  current_model: string | null;
  step: string;
  created_at: string;
  updated_at: string;
  started_at: string | null;
  ended_at: string | null;
  error: { code: string; message: string; suggestion: string } | null;
  model_type: string;
  quality: Record<string, Quality>;
  options: { quality?: string };
  cancel_requested: boolean;
  attempt: number;
  revision: number;
  has_depth: boolean;
  queue_position: number | null;
  seconds_left: number | null;
  expired: boolean;
}

export interface JobList {
  jobs: Job[];
  next_cursor: string | null;
}

export interface ModelOffer {
  name: string;
  title: string;
  summary: string;
  runs: string[];
  ready: boolean | null;
  message: string;
  vram_gb: number;
  relative_time: number;
  seconds: Record<string, number>;
}

export interface QualityOffer {
  name: string;
  grid: number;
  texture_size: number;
  preview_size: number;
}

export interface Offer {
  version: string;
  models: ModelOffer[];
  qualities: QualityOffer[];
  default_model: string;
  default_quality: string;
  limits: { max_file_bytes: number; max_total_bytes: number; max_pixels: number };
  device: string;
  retention_s: number | null;
}

export interface Session {
  keys_required: boolean;
  signed_in: boolean;
  name: string | null;
  scopes: string[];
}

export interface FileEntry {
  model: string;
  name: string;
  size: number;
  sha256: string;
  url: string;
}

export interface LivePicture {
  model: string;
  name: string;
  title: string;
  url: string;
}

/** `quality.json`, as far as the page shows it; see docs/quality.md. */
export interface Report {
  status: "normal" | "warning" | "failure";
  summary: string;
  warnings: string[];
  mean: Record<string, number>;
  views?: { name: string; psnr: number; ssim: number; flip: number; silhouette_iou: number }[];
  mesh?: { vertices: number; faces: number; components: number; watertight: boolean; texture_size: [number, number] | null };
  timings?: Record<string, number>;
  device?: string;
}

export const hasEnded = (job: Job): boolean =>
  job.status === "completed" || job.status === "failed" || job.status === "cancelled";
