"""An ablation actor that can be killed in the middle of a sweep: small packs, each reported and sent at once."""

import os
import time

from actors.ablation import actor as ablation
from actors.ablation import routes
from actors.messages import Progress

routes.PACK_NODES["cpu"] = 32
ablation.PART_SECONDS = ablation.PROGRESS_SECONDS = -1.0


class SlowAblation(ablation.AblationActor):
    """Appends `conditions first_pack num_packs` of every sweep to the file HALFWAVE_TEST_SWEEPS."""

    def _sweep_packs(self, plan, results, passes, *rest):
        with open(os.environ["HALFWAVE_TEST_SWEEPS"], "a") as log:
            log.write(f"{len(passes)} {results.num_done} {len(plan.packs)}\n")
        for message in super()._sweep_packs(plan, results, passes, *rest):
            if isinstance(message, Progress):
                time.sleep(0.05)
            yield message
