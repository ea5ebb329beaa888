"""Models of a run that their vendor turns off, so that they cannot be asked again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.providers import PROVIDERS
from domain.shutdowns import Shutdown, shutdown_of

if TYPE_CHECKING:
    from reports.load import Run
    from reports.settings import Settings


def of_run(run: Run) -> list[Shutdown]:
    """As the manifest recorded them when the run began; a run made before that was recorded is looked up in the table."""
    recorded = run.record.shutdowns
    shutdowns = recorded if recorded is not None else [shutdown_of(name) for name in _vendor_models(run.settings)]
    return list({shutdown.model: shutdown for shutdown in shutdowns if shutdown}.values())


def _vendor_models(settings: Settings) -> list[str]:
    """Names that arms ask of providers whose model names are the vendor's."""
    asked = [model for arm in settings.arms for model in settings.models_of(arm)]
    return [model.name for model in asked if model.provider in PROVIDERS and PROVIDERS[model.provider].has_vendor_names]
