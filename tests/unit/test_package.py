"""What `import meshwright` promises: quick, and without the heavy libraries."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys

import pytest

import meshwright


def test_version_is_plain() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", meshwright.__version__)


def test_import_brings_no_heavy_library() -> None:
    program = (
        "import sys, meshwright; "
        "heavy = {'torch', 'warp', 'trimesh', 'xatlas', 'scipy', 'skimage', 'typer', 'rich'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


PUBLIC = {
    "meshwright": """
        AVAILABLE_MODELS JobStatus MeshwrightError ModelType Quality ReconstructConfig Result get_model
        reconstruct
    """,
    "meshwright.inputs": "InputConfig read_inputs write_masks",
    "meshwright.cameras": """
        CameraConfig CameraSolution DEFAULT_RIG RIGS Rig default_rig move_cameras rig_cameras solve_cameras
    """,
    "meshwright.datasets": "create_nerf_dataset validate_nerf_dataset",
    "meshwright.geometry": """
        Atlas AtlasConfig RIG_UNIT ShapeConfig ShapeResult reconstruct_shape remeasured simplify unwrap
    """,
    "meshwright.geometry.tetra": """
        Capacity Carry CubeField CubeLattice Domain ShapeField Surface TetraField TetraLattice WEIGHTS
        cube_lattice laplacian march_cubes_dual march_tetrahedra normal_consistency sign_changes
        tetra_lattice unevenness volume_distance
    """,
    "meshwright.rendering": """
        CubeLevels Fragments HashGrid MipStack Picture antialias build_mips build_neighbours build_topology
        contact_sheet cube_texture deterministic hash_encode interpolate ops rasterize rasterize_mesh
        rasterize_views render_coloured render_normals render_textured render_wireframe stack_cube texture
        turntable_cameras
    """,
    "meshwright.rendering.ops": """
        CubeLevels HashGrid MipStack antialias build_mips build_neighbours build_topology cube_texture
        deterministic hash_encode interpolate rasterize stack_cube texture
    """,
    "meshwright.texture": "TextureConfig bake_texture blend_texture",
    "meshwright.models": """
        AVAILABLE_MODELS Appearance BaseReconstructionModel Evidence InferenceResult ModelOutput Proposal Recipe
        bind_recipe get_model
    """,
    "meshwright.export": """
        ExportedFiles encode_png export_result load_textured read_hdr save_mesh_both_formats validate_mesh_output
        weld write_animation write_atomic write_glb write_hdr write_obj write_ply write_png
    """,
    "meshwright.quality": """
        Comparison JudgeConfig MeshFacts PreviewFiles QualityReport QualityStatus compare_meshes judge
        mesh_facts picture_of write_comparisons write_previews write_quality_json write_report_html
    """,
    "meshwright.synth": "DisturbConfig SynthConfig disturb list_objects write_example",
    "meshwright.client": "AsyncClient Cancellation Client Job JobFault Page",
    "meshwright.weights": """
        FAMILIES Installed LARGE MINI NetworkFiles Store family_named installed
    """,
    "meshwright.pipeline": "MATERIAL_NAMES OUTPUT_NAMES ReconstructConfig Result reconstruct run_model stages",
}
"""Every public name, by the one path it is imported from. Adding one is a decision; removing one breaks somebody."""


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_these(name: str) -> None:
    module = importlib.import_module(name)
    assert sorted(module.__all__) == PUBLIC[name].split()
    assert all(hasattr(module, item) for item in module.__all__)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'paint'"):
        meshwright.paint  # noqa: B018
    assert set(meshwright.__all__) <= set(dir(meshwright))
