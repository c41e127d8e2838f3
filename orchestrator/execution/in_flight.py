"""What is known of each actor's request while it runs."""

from dataclasses import replace

import numpy as np

from actors.messages import Part


def join_parts(before: Part | None, after: Part) -> Part:
    """One part from pack 0, of what was there and what came; a gap or another plan keeps the new one alone."""
    if before is None or before.pack_plan != after.pack_plan or before.end_pack != after.first_pack:
        return after
    return replace(after, first_pack=before.first_pack, edges=np.concatenate([before.edges, after.edges], axis=-1))
