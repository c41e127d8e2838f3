"""An ablation actor that can be killed in the middle of a sweep: small packs, each reported and sent at once."""

import os
import time

from actors.ablation import actor as ablation
from actors.messages import Progress

ablation.PACK_NODES["cpu"] = 32
ablation.PART_SECONDS = ablation.PROGRESS_SECONDS = -1.0


class SlowAblation(ablation.AblationActor):
    """Appends `conditions first_pack num_packs` of every sweep to the file HALFWAVE_TEST_SWEEPS."""

    def _walk(self, plan, collected, walk, *rest):
        with open(os.environ["HALFWAVE_TEST_SWEEPS"], "a") as log:
            log.write(f"{len(walk)} {collected.done} {len(plan.packs)}\n")
        for message in super()._walk(plan, collected, walk, *rest):
            if isinstance(message, Progress):
                time.sleep(0.05)
            yield message
