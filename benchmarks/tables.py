"""Markdown of `objects.py`: figures beside the plain baseline, and which of the asked bars they reach."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

Row = dict[str, Any]

BASELINE = {
    # A hull of the alpha masks with true cameras on a 192^3 grid, Taubin smoothing, view-weighted vertex colours;
    # without depth, and with metric depth carved in: F@0.01, normal consistency, PSNR, SSIM by score.py.
    "none": {
        "spot": (0.669, 0.906, 23.8, 0.942),
        "bob": (0.682, 0.937, 22.6, 0.948),
        "fox": (0.789, 0.871, 27.0, 0.970),
        "banana": (0.806, 0.949, 27.3, 0.978),
    },
    "depth_metric": {
        "spot": (1.000, 0.990, 37.4, 0.991),
        "bob": (1.000, 0.994, 34.7, 0.987),
        "fox": (1.000, 0.970, 34.5, 0.991),
        "banana": (1.000, 0.993, 40.8, 0.996),
    },
}


def write_table(rows: Sequence[Row]) -> str:
    """The whole page: one table per case, then the bars."""
    parts = []
    for case in dict.fromkeys(row["case"] for row in rows):
        chosen = [row for row in rows if row["case"] == case]
        about_rig = "swapped" in case or "mirror" in case
        models = list(dict.fromkeys(row["model"] for row in chosen))
        for model in models:
            title = case if len(models) == 1 else f"{case}, {model}"
            own = [row for row in chosen if row["model"] == model]
            parts.append(f"### {title}\n\n" + (rig_table(own) if about_rig else figure_table(own)))
        if "hull" in models and len(models) > 1 and not about_rig:
            parts.extend(against_hull(chosen, model) for model in models if model != "hull")
    parts.append("### Asked and reached\n\n" + bar_table(rows))
    return "\n".join(parts)


def figure_table(rows: Sequence[Row]) -> str:
    """Objects by modes, with the mean of each mode."""
    lines = [
        "| depth | object | F@0.01 | normals | PSNR | SSIM | baseline F | baseline PSNR | rig | cameras off | time |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for mode in dict.fromkeys(row["mode"] for row in rows):
        chosen = [row for row in rows if row["mode"] == mode]
        for row in chosen:
            base = BASELINE.get(mode, {}).get(row["item"])
            shown = (f"{base[0]:.3f}", f"{base[2]:.1f}") if base else ("", "")
            rig = "found" if row["found"] else f"WRONG ({row['rig']}, mirrored {row['mirrored']})"
            lines.append(
                f"| {mode} | {row['item']} | {row['f']:.3f} | {row['normals']:.3f} | {row['psnr']:.2f} "
                f"| {row['ssim']:.3f} | {shown[0]} | {shown[1]} | {rig} | {percent(row)} | {row['seconds']:.0f} s |"
            )
        means = {key: fmean(row[key] for row in chosen) for key in ("f", "normals", "psnr", "ssim", "seconds")}
        lines.append(
            f"| {mode} | **mean** | **{means['f']:.3f}** | {means['normals']:.3f} | **{means['psnr']:.2f}** "
            f"| {means['ssim']:.3f} | | | | | {means['seconds']:.0f} s |"
        )
    return "\n".join(lines) + "\n"


MEASURES = (("f", "F@0.01", 3), ("normals", "normals", 3), ("psnr", "PSNR", 2), ("ssim", "SSIM", 3))


def against_hull(rows: Sequence[Row], model: str) -> str:
    """Hull of the same views -> the model, and whether that is better in each measure."""
    lines = [f"### {rows[0]['case']}, hull -> {model}", "", "| depth | object |", "| --- | --- |"]
    for _, title, _ in MEASURES:
        lines[2] += f" {title} |"
        lines[3] += " --- |"
    pairs: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        pairs.setdefault((row["mode"], row["item"]), {})[row["model"]] = row
    for (mode, item), pair in pairs.items():
        if {"hull", model} <= set(pair):
            line = f"| {mode} | {item} |"
            for key, _, digits in MEASURES:
                base, own = pair["hull"][key], pair[model][key]
                line += f" {base:.{digits}f} -> {own:.{digits}f}{'' if own > base else ' **not better**'} |"
            lines.append(line)
    return "\n".join(lines) + "\n"


def rig_table(rows: Sequence[Row]) -> str:
    """What was found out about the views, and what it did to the result."""
    lines = [
        "| depth | object | found | said | margin | rig | mirrored | F@0.01 | PSNR |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines.extend(
        f"| {row['mode']} | {row['item']} | {yes(row['found'])} | {yes(row['said'])} | {row['margin']} | {row['rig']} "
        f"| {row['mirrored'] or ''} | {row['f']:.3f} | {row['psnr']:.2f} |"
        for row in rows
    )
    return "\n".join(lines) + "\n"


def percent(row: Row) -> str:
    """How far off its cameras are, where that was measured."""
    return f"{row['camera_error']:.2f} %" if row.get("camera_error") is not None else ""


def yes(value: bool) -> str:
    """For a table."""
    return "yes" if value else "**no**"


def bar_table(rows: Sequence[Row]) -> str:
    """Every bar that the rows can say something about."""
    lines = ["| asked | seen | |", "| --- | --- | --- |"]

    first = rows[0]["model"] if rows else ""

    def add(asked: str, seen: str, reached: bool) -> None:
        lines.append(f"| {asked} | {seen} | {'reached' if reached else '**missed**'} |")

    def pick(case: str, mode: str) -> list[Row]:
        return [row for row in rows if row["case"] == case and row["mode"] == mode and row["model"] == first]

    for mode, f_slack, psnr_slack in (("depth_metric", 0.005, 0.5), ("none", 0.0, 0.0)):
        base = BASELINE[mode]
        known = [row for row in pick("plain", mode) if row["item"] in base]
        if known:
            seen, worst = gaps([(row["f"] - base[row["item"]][0], row["item"]) for row in known], 3, "")
            add(f"{mode}: F@0.01 at most {f_slack} below the baseline's", seen, worst >= -f_slack)
            seen, worst = gaps([(row["psnr"] - base[row["item"]][2], row["item"]) for row in known], 2, " dB")
            add(f"{mode}: PSNR at most {psnr_slack} dB below the baseline's", seen, worst >= -psnr_slack)
    for mode in ("depth_linear8", "depth_norm"):
        chosen = pick("plain", mode)
        if chosen:
            f, psnr = fmean(row["f"] for row in chosen), fmean(row["psnr"] for row in chosen)
            add(f"{mode}: mean F@0.01 at least 0.92", f"{f:.3f}", f >= 0.92)
            add(f"{mode}: mean PSNR at least 30 dB", f"{psnr:.2f} dB", psnr >= 30)
    for mode in dict.fromkeys(row["mode"] for row in rows):
        plain = {row["item"]: row for row in pick("plain", mode)}
        both = [(row, plain[row["item"]]) for row in pick("disturbed", mode) if row["item"] in plain]
        if both:
            seen, worst = gaps([(row["f"] - tidy["f"], row["item"]) for row, tidy in both], 3, "")
            add(f"{mode}, disturbed: at most 0.03 F lost", seen, worst >= -0.03)
            seen, worst = gaps([(row["psnr"] - tidy["psnr"], row["item"]) for row, tidy in both], 2, " dB")
            add(f"{mode}, disturbed: at most 2 dB lost", seen, worst >= -2)
    about_rig = [row for row in rows if "swapped" in row["case"] or "mirror" in row["case"]]
    if about_rig:
        right = sum(row["found"] and row["said"] for row in about_rig)
        add(
            "left/right swapped or a view mirrored: found and said",
            f"{right} of {len(about_rig)}",
            right == len(about_rig),
        )
    return "\n".join(lines) + "\n"


def gaps(pairs: Sequence[tuple[float, str]], digits: int, unit: str) -> tuple[str, float]:
    """Mean and worst of (difference, object) in words, and the worst, rounded as it is shown."""
    value, item = min(pairs)
    mean = fmean(pair[0] for pair in pairs)
    return f"mean {mean:+.{digits}f}{unit}, worst {item} {value:+.{digits}f}{unit}", round(value, digits)
