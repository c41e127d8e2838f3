"""The one door to data sets on the hub, through `datasets`; its failures become one clear line."""

from studies.errors import StudyError


def load_rows(path: str, name: str | None = None, *, split: str) -> list[dict]:
    """All rows of one configuration and split. Raises StudyError when the hub or the data set cannot be reached."""
    import datasets

    try:
        return list(datasets.load_dataset(path, name, split=split))
    except Exception as error:  # `datasets` raises a dozen unrelated types for "not reachable"
        first_line = str(error).strip().split("\n")[0]
        raise StudyError(
            f"data set {path} ({name or 'default'}, {split}) cannot be loaded from the hub: {first_line}; "
            "give a local copy with --data-root or data: {root: ...}"
        ) from error
