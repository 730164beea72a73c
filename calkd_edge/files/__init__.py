"""Files: their SHA-256, writing that leaves a complete file or none, downloads that resume.

In scope: one implementation of each, for every room. Out of scope: what is in a file.
"""

from calkd_edge.files.atomic import check_folder, nearest_existing, replacing, write_atomically
from calkd_edge.files.digest import file_digest, sha256_of
from calkd_edge.files.recognised import recognised

__all__ = [
    "check_folder",
    "file_digest",
    "nearest_existing",
    "recognised",
    "replacing",
    "sha256_of",
    "write_atomically",
]
