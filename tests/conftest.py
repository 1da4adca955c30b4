"""Design: hypothesis profiles, chosen by HYPOTHESIS_PROFILE.

dev (default) draws 25 examples a property, ci 300 from a fixed seed, deep 5000; sabotage is ci
without the search for the smallest failing example. No example has a deadline, because the first
parallel region and the first touch of a page are slow by nature; only the health check `too_slow`
is off for the same reason. A filter that rejects much is a design fault of a strategy and stays an
error.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # tests share the machine; before minigrad

from hypothesis import HealthCheck, Phase, settings

_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}

settings.register_profile("dev", max_examples=25, **_COMMON)
settings.register_profile("ci", max_examples=300, derandomize=True, database=None, **_COMMON)
settings.register_profile(
    "sabotage", settings.get_profile("ci"), phases=(Phase.explicit, Phase.generate)
)
settings.register_profile("deep", max_examples=5000, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
