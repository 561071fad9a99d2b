"""SeriesPlan → DICOM data sets in the dialect of the series' vendor: the second place that needs pydicom, to write."""

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from radnet.shards.ledger import Code
from radnet.shards.phantom.dialects import MANUFACTURERS, MODELS
from radnet.shards.phantom.plan import SeriesPlan

_MR_TYPE_TAILS = {"SIEMENS": "M\\NORM\\DIS2D", "GE": "OTHER", "PHILIPS": "M_{0}\\M\\{0}"}


def series_dataset(plan: SeriesPlan) -> Dataset:
    """What all slices of the series share, with file meta; image modules only where the plan has images.

    One series in four of GE and Philips is implicit VR little endian, the rest explicit.
    """
    dataset = Dataset()
    dataset.PatientID = dataset.PatientName = plan.patient_id
    dataset.PatientSex, dataset.PatientBirthDate, dataset.StudyDate = plan.sex, "", "20200101"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = plan.study_uid, plan.series_uid
    dataset.FrameOfReferenceUID = plan.study_uid + ".1"
    dataset.Modality, dataset.SeriesNumber, dataset.PatientPosition = plan.modality, plan.seeds[2] + 1, "HFS"
    dataset.Manufacturer = MANUFACTURERS[plan.vendor]
    dataset.ManufacturerModelName = MODELS[plan.vendor, plan.modality]
    for keyword, value in plan.text.items():
        setattr(dataset, keyword, value.split("\\") if "\\" in value else value)
    if plan.code is Code.NOT_AN_IMAGE:
        _fill_report(dataset)
    elif plan.code is Code.SECONDARY_CAPTURE:
        dataset.SOPClassUID, dataset.ImageType = uid.SecondaryCaptureImageStorage, ["DERIVED", "SECONDARY"]
    else:
        _fill_image(dataset, plan)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    is_implicit = plan.vendor != "SIEMENS" and int(plan.series_uid[-2:]) % 4 == 0
    dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if is_implicit else uid.ExplicitVRLittleEndian
    return dataset


def _fill_report(dataset: Dataset) -> None:
    dataset.SOPClassUID, dataset.Modality = uid.BasicTextSRStorage, "SR"
    dataset.ValueType, dataset.CompletionFlag, dataset.VerificationFlag = "CONTAINER", "COMPLETE", "UNVERIFIED"
    dataset.ContinuityOfContent = "SEPARATE"


def _fill_image(dataset: Dataset, plan: SeriesPlan) -> None:
    spacing_mm, direction = plan.grid.spacing_mm, plan.grid.direction
    dataset.PixelSpacing = [round(spacing_mm[1], 6), round(spacing_mm[2], 6)]
    dataset.ImageOrientationPatient = [round(float(v), 9) + 0.0 for v in (*direction[:, 2], *direction[:, 1])]
    dataset.SliceThickness = round(spacing_mm[0] * (0.8 if plan.modality == "MR" else 1.0), 3)
    kind = ["ORIGINAL", "PRIMARY"] if plan.code is not Code.DERIVED else ["DERIVED", "SECONDARY", "REFORMATTED"]
    if plan.modality == "CT":
        dataset.SOPClassUID = uid.CTImageStorage
        dataset.ImageType = kind + ["LOCALIZER" if plan.code is Code.LOCALIZER else "AXIAL"]
        dataset.KVP, dataset.XRayTubeCurrent, dataset.GantryDetectorTilt = 120, 220, 0
        dataset.ConvolutionKernel = {"SIEMENS": "B30f", "GE": "STANDARD", "PHILIPS": "B"}[plan.vendor]
        if plan.code is not Code.NO_RESCALE:
            dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = ct_intercept(plan), 1, "HU"
        return
    timing = plan.timing
    dataset.SOPClassUID = uid.MRImageStorage
    family = "IR" if timing.ti_ms else "FFE" if plan.technique == "GRE" else "SE"
    dataset.ImageType = kind + _MR_TYPE_TAILS[plan.vendor].format(family).split("\\")
    dataset.MRAcquisitionType, dataset.NumberOfAverages = "2D", 1
    dataset.RepetitionTime, dataset.EchoTime, dataset.FlipAngle = timing.tr_ms, timing.te_ms, timing.flip_deg
    dataset.MagneticFieldStrength, dataset.SpacingBetweenSlices = timing.field_t, spacing_mm[0]
    dataset.EchoTrainLength = 15 if plan.kind in ("T2-SE", "T2-FLAIR", "STIR") else 1
    dataset.ScanOptions = "FS" if timing.fat_saturated else ""
    if timing.ti_ms:
        dataset.InversionTime = timing.ti_ms
    if timing.b_value:
        dataset.DiffusionBValue = timing.b_value


def ct_intercept(plan: SeriesPlan) -> int:
    """HU of the stored value 0: GE stores signed HU, the others add 1024."""
    return 0 if plan.vendor == "GE" else -1024


def place_slice(dataset: Dataset, plan: SeriesPlan, index: int) -> None:
    """Set in `dataset` what slice `index` (along D, from 0) has of its own; half of the series count backwards."""
    number = plan.grid.shape[0] - index if int(plan.series_uid[-1]) % 2 else index + 1
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{plan.series_uid}.{number}"
    dataset.InstanceNumber = number
    position = plan.grid.origin_mm + plan.grid.direction[:, 0] * (plan.grid.spacing_mm[0] * index)
    dataset.ImagePositionPatient = [round(float(value), 5) + 0.0 for value in position]
    dataset.SliceLocation = round(float(position @ plan.grid.direction[:, 0]), 4)


def set_pixels(dataset: Dataset, pixels: np.ndarray) -> None:
    """Put int16 or uint16 [H,W], or uint8 [H,W,3] (RGB), into `dataset`."""
    bits = 8 * pixels.dtype.itemsize
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = (3, "RGB") if pixels.ndim == 3 else (1, "MONOCHROME2")
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.add_new(0x7FE00010, "OB" if bits == 8 else "OW", pixels.tobytes())
