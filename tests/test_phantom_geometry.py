"""Where the organs of the phantom lie: in its files, in its scans, in its truth."""

import math

import numpy as np
import pytest

from radnet.shards.ledger import Code
from radnet.shards.phantom.anatomy import Grid, Organ, sample_patient, supports
from tests.phantoms import read_stack, write_one


def test_liver_lies_where_the_files_say(phantom_plans, tmp_path):
    scans = [
        plan for plan in phantom_plans if plan.modality == "CT" and plan.code is Code.OK and "liver" in plan.coverage
    ]
    plan = next(plan for plan in scans if plan.phase == "venous" and plan.kernel == "soft")
    slices = read_stack(write_one(plan, tmp_path / "series"))
    hu = np.stack([one.pixel_array * one.RescaleSlope + one.RescaleIntercept for one in slices])
    organs = plan.patient.rasterise(plan.grid)
    assert abs(np.median(hu[organs == Organ.LIVER]) - 112) < 12 and np.median(hu[organs == Organ.AIR]) < -950
    points = []
    for depth, row, column in np.argwhere(organs == Organ.LIVER)[::50]:
        one = slices[depth]
        cosines = np.array(one.ImageOrientationPatient, float).reshape(2, 3)
        step = column * one.PixelSpacing[1] * cosines[0] + row * one.PixelSpacing[0] * cosines[1]
        points.append(np.array(one.ImagePositionPatient, float) + step)
    centroid = np.mean(points, axis=0)
    assert centroid[0] < -30  # the patient's right
    truth = next(solid for solid in plan.patient.solids if solid.organ is Organ.LIVER)
    assert np.linalg.norm(centroid - truth.center) < 35


@pytest.mark.parametrize("view", ["axial", "coronal", "sagittal"])
def test_slices_step_along_the_normal(phantom_plans, tmp_path, view):
    plan = next(plan for plan in phantom_plans if plan.view == view and plan.obliquity_deg > 3 and plan.code is Code.OK)
    slices = read_stack(write_one(plan, tmp_path / "series"))
    positions = np.array([one.ImagePositionPatient for one in slices], float)
    direction = np.array(slices[0].ImageOrientationPatient, float).reshape(2, 3)
    normal = np.cross(*direction)
    assert np.allclose(np.diff(positions, axis=0), normal * plan.grid.spacing_mm[0], atol=1e-3)
    assert np.abs(normal).argmax() == {"sagittal": 0, "coronal": 1, "axial": 2}[view]
    assert math.isclose(np.degrees(np.arccos(np.abs(normal).max())), plan.obliquity_deg, abs_tol=0.01)
    assert np.allclose(plan.grid.affine[:3, 3], positions[0], atol=1e-4)


def test_coverage_is_what_a_larger_scan_proves(phantom_plans):
    """Draw each organ on a coarse grid of the whole body, and ask of every voxel whether the scan holds it."""
    organ_of = {"brain": Organ.GREY_MATTER, "liver": Organ.LIVER, "breast": Organ.BREAST, "kidney": Organ.KIDNEY}
    body = Grid(np.array([-240.0, -230.0, -40.0]), np.eye(3)[:, ::-1], (2.0, 4.0, 4.0), (500, 100, 120))
    for plan in [plan for plan in phantom_plans if plan.code is Code.OK][::7]:
        organs = plan.patient.rasterise(body)
        for region, organ in organ_of.items():
            index = np.argwhere(organs == organ)
            world = index @ body.affine[:3, :3].T + body.affine[:3, 3]
            scan = (world - plan.grid.origin_mm) @ plan.grid.direction / plan.grid.spacing_mm
            if not len(scan):
                assert (region, plan.sex) == ("breast", "M") and region not in plan.coverage
            elif region in plan.coverage:
                assert (scan >= -0.5).all() and (scan <= np.array(plan.grid.shape) - 0.5).all()
            else:  # half a voxel of the coarse grid, and the 2 mm of CSF around the cortex, are not proof
                slack = 7 / np.array(plan.grid.spacing_mm)
                assert (scan < -0.5 + slack).any() or (scan > np.array(plan.grid.shape) - 0.5 - slack).any()


def test_supports_bound_what_is_painted():
    patient = sample_patient(np.random.default_rng(5), "F")
    angle = np.deg2rad(11)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    grid = Grid(turn @ np.array([-240.0, -240.0, 180.0]), turn @ np.eye(3)[:, ::-1], (2.0, 3.0, 3.0), (130, 160, 160))
    for organ in (Organ.LIVER, Organ.SPLEEN):
        solids = [solid for solid in patient.solids if solid.organ is organ]
        index = np.argwhere(patient.rasterise(grid) == organ)
        for axis in range(3):
            along = (index @ grid.affine[:3, :3].T + grid.affine[:3, 3]) @ grid.direction[:, axis]
            spans = np.array(
                [np.ravel(supports(solid.center, solid.axes, grid.direction[:, [axis]])) for solid in solids]
            )
            assert spans[:, 0].min() <= along.min() and along.max() <= spans[:, 1].max()
            assert organ is Organ.LIVER or np.ptp(along) > 0.8 * np.ptp(spans)  # other organs cover parts of the liver
