"""The prediction log, its labels and record files: how they are stored, compacted and queried."""
