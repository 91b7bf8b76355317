"""Files that are no tables which can be read here: what they are instead, and what to do."""

import re
from pathlib import Path

from storage.errors import InputError
from storage.lines import opened_bytes

LOOKED_AT = 512  # bytes at the beginning
UNPACK = "unpack it, and give the file with the ratings"
FROM_PYTHON = "study.load takes from Python what {} gives"
PICKLE = "pandas.read_pickle opens it and runs what is in it, so only if you trust whoever made it"

FOREIGN = (  # how they begin
    (
        rb"\xff\xfe\x00\x00|\x00\x00\xfe\xff",
        "text in UTF-32",
        "iconv -f UTF-32 -t UTF-8 makes it UTF-8",
    ),
    (rb"\xff\xfe|\xfe\xff", "text in UTF-16", "iconv -f UTF-16 -t UTF-8 makes it UTF-8"),
    (
        rb"version https://git-lfs\.github\.com/spec/",
        "a pointer of Git LFS in place of the file",
        "git lfs pull gets the file",
    ),
    (
        rb"(?is)\s*(<!--.*?-->\s*)?<(!doctype\s+html|html|head|body)\b",
        "a web page",
        "a download may need a login, or another address",
    ),
    (rb"\s*<\?xml\b", "XML", "write it as CSV or JSON lines"),
    (
        rb"SQLite format 3\0",
        "an SQLite database",
        "sqlite3 -csv -header FILE 'SELECT user, item, rating FROM ratings' writes a table",
    ),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Excel workbook", "save the sheet as CSV"),
    (rb"FEA1[^\t\r\x20-\x7e]", "Feather of version 1", FROM_PYTHON.format("pandas.read_feather")),
    (rb"\x93NUMPY", "an array of NumPy", FROM_PYTHON.format("numpy.load")),
    (
        rb"MATLAB [57]\.\d MAT-file",
        "a MAT-file",
        "scipy.io.loadmat or h5py opens it, and study.load takes a matrix of it from Python",
    ),
    (rb"\x89HDF\r\n\x1a\n", "HDF5", FROM_PYTHON.format("pandas.read_hdf or h5py")),
    (rb"\x80[\x02-\x05]", "a pickle of Python", PICKLE),
    (rb"(RDX[23]\n)?[AXB]\n\0\0\0[\x02\x03]\0", "a file of R", "write.csv writes a table in R"),
    (rb"ORC[^\t\r\x20-\x7e]", "ORC", FROM_PYTHON.format("pyarrow.orc.read_table")),
    (rb"Obj\x01", "Avro", "write it as Parquet or JSON lines"),
    (rb"%PDF-", "a PDF", "ratings come as a table"),
    (rb"7z\xbc\xaf\x27\x1c|Rar!\x1a\x07|\x1f\x9d|\x04\x22\x4d\x18", "an archive", UNPACK),
    (rb"(?s).{257}ustar(\0|  \0)", "a tar archive", UNPACK),
    (
        rb"\s*\{\s*'",
        "dicts of Python",
        "json.dumps(ast.literal_eval(line)) makes JSON of each line",
    ),
    (
        rb"\s*\[\s*\{",
        "one JSON array",
        "jq -c '.[]' FILE makes JSON lines of it, an object a line",
    ),
)
BEGINNINGS = tuple((re.compile(begin), what, mend) for begin, what, mend in FOREIGN)


def check_known(path: Path) -> None:
    """Raises InputError if a file cannot be read, or is known to be something else than a table."""
    with opened_bytes(path) as stream:
        begin = stream.read(LOOKED_AT)
    for pattern, what, mend in BEGINNINGS:
        if pattern.match(begin):
            raise InputError(f"{path}: expected a table, got {what}; {mend}")
