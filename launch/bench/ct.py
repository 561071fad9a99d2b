"""A CT series as rich as a scanner writes it, for measurements: 200 elements a slice, private ones and sequences."""

from pathlib import Path
from typing import Any

import numpy as np

NUM_SLICES, SIZE = 140, 512
SPACING_MM = 2.5
_DATES = dict.fromkeys(
    ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate"), "20200102"
)
_TIMES = dict.fromkeys(
    ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime", "InstanceCreationTime"), "101112.5"
)
# What is the same in every slice; made up after the elements that scanners of three vendors write.
_COMMON: dict[str, Any] = {
    **_DATES,
    **_TIMES,
    "SpecificCharacterSet": "ISO_IR 100",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "AccessionNumber": "1",
    "Modality": "CT",
    "Manufacturer": "GE MEDICAL SYSTEMS",
    "InstitutionName": "Phantom Hospital",
    "InstitutionAddress": "1 Phantom Street",
    "ReferringPhysicianName": "Nobody",
    "StationName": "CT01",
    "StudyDescription": "CT CHEST ABDOMEN PELVIS W CONTRAST",
    "SeriesDescription": "AXIAL 2.5 STANDARD",
    "InstitutionalDepartmentName": "Radiology",
    "OperatorsName": "Nobody",
    "ManufacturerModelName": "LightSpeed VCT",
    "PatientName": "PHANTOM^1",
    "PatientID": "PHANTOM-1",
    "PatientBirthDate": "19500101",
    "PatientSex": "O",
    "PatientAge": "070Y",
    "PatientSize": 1.7,
    "PatientWeight": 70.0,
    "AdditionalPatientHistory": "none",
    "ContrastBolusAgent": "OMNIPAQUE 300",
    "BodyPartExamined": "CHEST",
    "ScanOptions": "HELICAL MODE",
    "SliceThickness": 2.5,
    "KVP": 120,
    "SpacingBetweenSlices": 2.5,
    "DataCollectionDiameter": 500,
    "DeviceSerialNumber": "1",
    "SoftwareVersions": "gmp_vct.42",
    "ProtocolName": "6.1 CHEST ABDOMEN PELVIS",
    "ContrastBolusRoute": "IV",
    "ContrastBolusVolume": 100,
    "ReconstructionDiameter": 400,
    "DistanceSourceToDetector": 949.07,
    "DistanceSourceToPatient": 541.0,
    "GantryDetectorTilt": 0,
    "TableHeight": 150,
    "RotationDirection": "CW",
    "ExposureTime": 600,
    "XRayTubeCurrent": 300,
    "Exposure": 10,
    "FilterType": "BODY FILTER",
    "GeneratorPower": 36000,
    "FocalSpots": 1.2,
    "ConvolutionKernel": "STANDARD",
    "PatientPosition": "FFS",
    "RevolutionTime": 0.6,
    "SingleCollimationWidth": 0.625,
    "TotalCollimationWidth": 40.0,
    "TableSpeed": 65.0,
    "TableFeedPerRotation": 39.375,
    "SpiralPitchFactor": 0.984375,
    "StudyInstanceUID": "1.2.826.0.1.3680043.2",
    "SeriesInstanceUID": "1.2.826.0.1.3680043.2.1",
    "StudyID": "1",
    "SeriesNumber": 2,
    "AcquisitionNumber": 1,
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.2.2",
    "PositionReferenceIndicator": "SN",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "Rows": SIZE,
    "Columns": SIZE,
    "PixelSpacing": [0.78125, 0.78125],
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
    "PixelRepresentation": 1,
    "PixelPaddingValue": -2000,
    "WindowCenter": 40,
    "WindowWidth": 400,
    "RescaleIntercept": -1024,
    "RescaleSlope": 1,
    "RescaleType": "HU",
    "RequestingPhysician": "Nobody",
    "RequestedProcedureDescription": "CT CHEST ABDOMEN PELVIS W CONTRAST",
    "PerformedProcedureStepDescription": "CT CHEST ABDOMEN PELVIS W CONTRAST",
    "PerformedProcedureStepStartDate": "20200102",
    "PerformedProcedureStepStartTime": "101010",
    "PerformedProcedureStepID": "1",
}
_PRIVATE = {
    0x09: "GEMS_IDEN_01",
    0x19: "GEMS_ACQU_01",
    0x21: "GEMS_RELA_01",
    0x27: "GEMS_IMAG_01",
    0x43: "GEMS_PARM_01",
}
_NUM_PRIVATE = 19  # elements in each private group


def write_series(folder: Path) -> list[str]:
    """140 slices of 512 by 512 int16, explicit little endian, 2.5 mm apart, 75 MB. The same bytes every time."""
    from pydicom import dcmwrite

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    body = np.where((rows / 0.7) ** 2 + (columns / 0.9) ** 2 < 1, 1064, 24)
    files = []
    for number in range(NUM_SLICES):
        pixels = (body + rng.normal(0, 20, body.shape)).astype("<i2")
        path = folder / f"i{number:04d}.dcm"
        dcmwrite(path, _slice(number, pixels), enforce_file_format=True)
        files.append(str(path))
    return files


def _slice(number: int, pixels: np.ndarray) -> Any:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    dataset = Dataset()
    for keyword, value in _COMMON.items():
        setattr(dataset, keyword, value)
    position_mm = SPACING_MM * number
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"1.2.826.0.1.3680043.2.1.{number + 1}"
    dataset.InstanceNumber, dataset.SliceLocation = number + 1, position_mm
    dataset.ImagePositionPatient = [-199.609375, -199.609375, position_mm]
    dataset.SmallestImagePixelValue, dataset.LargestImagePixelValue = int(pixels.min()), int(pixels.max())
    for group, creator in _PRIVATE.items():
        block = dataset.private_block(group, creator, create=True)
        for at in range(_NUM_PRIVATE):
            vr, value = [("DS", f"{at * 1.5:.6f}"), ("SL", at), ("LO", f"value {at}"), ("FD", at / 3)][at % 4]
            block.add_new(at + 1, vr, value)
    _add_sequences(dataset)
    dataset.PixelData = pixels.tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def _add_sequences(dataset: Any) -> None:
    """Six sequences, half of them of undefined length as some scanners write them."""
    from pydicom.dataset import Dataset

    names = """ReferencedStudySequence ReferencedImageSequence ProcedureCodeSequence AnatomicRegionSequence
    RequestAttributesSequence CTDIPhantomTypeCodeSequence""".split()
    for number, name in enumerate(names):
        item = Dataset()
        if name.startswith("Referenced"):
            item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.3.1.2.3.1", "1.2.826.0.1"
        else:
            item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = (
                "113691",
                "DCM",
                "IEC Body Dosimetry Phantom",
            )
        setattr(dataset, name, [item])
        dataset[name].is_undefined_length = number % 2 == 0
