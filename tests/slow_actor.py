"""An ablation actor that can be killed in the middle of a sweep: small packs, each reported and sent at once."""

import os
import time

from actors.ablation import actor as ablation
from actors.ablation import routes
from actors.messages.stream import Progress

routes.CPU_NODES = 32
ablation.PART_SECONDS = ablation.PROGRESS_SECONDS = -1.0


class SlowAblation(ablation.AblationActor):
    """Appends `conditions first_pack num_packs` of every sweep to the file HALFWAVE_TEST_SWEEPS."""

    def evaluate(self, request):
        logged = False
        for message in super().evaluate(request):
            if isinstance(message, Progress):
                if not logged:
                    with open(os.environ["HALFWAVE_TEST_SWEEPS"], "a") as log:
                        log.write(f"{len(request.interventions)} {message.done - 1} {message.total}\n")
                    logged = True
                time.sleep(0.05)
            yield message
