"""What came out, judged from the files as written: metrics, mesh facts, previews, the report."""

from __future__ import annotations

from meshwright.quality.comparison import Comparison
from meshwright.quality.geometry import MeshFacts, compare_meshes, mesh_facts
from meshwright.quality.judge import JudgeConfig, judge
from meshwright.quality.pairs import write_comparisons
from meshwright.quality.previews import PreviewFiles, picture_of, write_previews
from meshwright.quality.record import QualityReport, QualityStatus, write_quality_json
from meshwright.quality.report import write_report_html

__all__ = [
    "Comparison",
    "JudgeConfig",
    "MeshFacts",
    "PreviewFiles",
    "QualityReport",
    "QualityStatus",
    "compare_meshes",
    "judge",
    "mesh_facts",
    "picture_of",
    "write_comparisons",
    "write_previews",
    "write_quality_json",
    "write_report_html",
]
