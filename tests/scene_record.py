"""A scene record without a fault, with any of its values changed."""

from dataclasses import replace
from typing import Any

from worldr1.data.records import ScenePlan, SceneRecord


def record(**changes: Any) -> SceneRecord:
    plan = ScenePlan(
        place="quay", subject="nets", foreground="bollard", light="dusk", material="", scale="a street", mood="worn"
    )
    good = SceneRecord(
        id="urban-streets-000",
        split="train",
        domain="urban",
        subdomain="streets",
        tags=(),
        camera=("push_in", "pan_left"),
        camera_class="composite",
        plan=plan,
        scene="Nets dry over an iron bollard; behind it three blue boats lie on the mud.",
        enriched=None,
    )
    return replace(good, **changes)
