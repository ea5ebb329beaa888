"""Models of a run that their vendor turns off, so that they cannot be asked again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from domain.providers import PROVIDERS
from domain.shutdowns import Shutdown, shutdown_of
from reports.load import arm_names, models_of

if TYPE_CHECKING:
    from reports.load import Run


def of_run(run: Run) -> list[Shutdown]:
    """As the manifest recorded them when the run began; a run made before that was recorded is looked up in the table."""
    recorded = run.manifest.get("shutdowns")
    if isinstance(recorded, Mapping):
        read = [Shutdown.of(plain) for plain in recorded.values() if isinstance(plain, Mapping)]
    else:
        read = [shutdown_of(name) for name in _vendor_models(run.experiment)]
    return list({shutdown.model: shutdown for shutdown in read if shutdown}.values())


def _vendor_models(experiment: Mapping[str, Any]) -> list[str]:
    """Names that arms ask of providers whose model names are the vendor's."""
    models = experiment.get("models") or {}
    vendors = [name for name, provider in PROVIDERS.items() if provider.has_vendor_names]
    plain = [model for model in models.values() if isinstance(model, Mapping)]
    hosted = {str(model.get("model")) for model in plain if model.get("provider") in vendors}
    asked = [name for arm in arm_names(experiment) for name in models_of(experiment, arm)]
    return [name for name in asked if name in hosted]
