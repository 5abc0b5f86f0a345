"""Runs of a W&B project, as its server tells them."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import yaml

from gantrick.tracking.wandb_log import FAILURES, has_key, sentence
from gantrick.types import ConfigError, GantrickError

TIMEOUT = 30  # seconds for an answer
FIELDS = {"group": "group", "state": "state", "job_type": "jobType", "sweep": "sweep", "name": "display_name"}


def filters(words: Sequence[str]) -> dict[str, Any]:
    """W&B's filter of words like `group=sweep-…`, `tag=wgan_ct`, `state=finished`, `seed=0`, or of its own JSON.

    A word that is none of W&B's fields is a key of the run's config. All must hold. Raises ConfigError.
    """
    found: list[dict[str, Any]] = []
    for word in words:
        key, equals, text = word.partition("=")
        if word.lstrip().startswith("{"):
            try:
                found.append(dict(json.loads(word)))
            except ValueError as error:
                raise ConfigError(f"--filter {word}: is not JSON: {error}; correct it, or write key=value") from error
        elif not equals or not key:
            raise ConfigError(f"--filter {word}: is not key=value; write one as in --filter tag=wgan_ct")
        elif key in ("tag", "tags"):
            found.append({"tags": {"$in": [text]}})
        elif key in FIELDS:
            found.append({FIELDS[key]: text})
        else:
            try:
                value = yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise ConfigError(f"--filter {word}: {text!r} is not a value; put it in quotes") from error
            found.append({f"config.{key}": value})
    return {} if not found else found[0] if len(found) == 1 else {"$and": found}


def records(project: str, wanted: Mapping[str, Any], api: Callable[[], Any] | None = None) -> Iterable[dict[str, Any]]:
    """The project's runs, oldest first: path, state, config and summary of each.

    Raises GantrickError, with one sentence, where there is no key, no answer or no such project.
    """
    try:
        client = (api or _client)()
        whole = {"lazy": False} if "lazy" in inspect.signature(client.runs).parameters else {}  # config and summary too
        return [
            {
                "path": "/".join(run.path),
                "state": run.state,
                "config": dict(run.config),
                "summary": dict(run.summary_metrics or {}),
            }
            for run in client.runs(project, filters=dict(wanted), order="+created_at", **whole)
        ]
    except GantrickError:
        raise
    except FAILURES as error:
        raise GantrickError(
            f"--wandb {project}: cannot be read ({sentence(error)}); see that it is ENTITY/PROJECT and that its server "
            "can be reached, or compare run folders"
        ) from error


def _client() -> Any:
    import wandb

    known = wandb.setup(settings=wandb.Settings(silent=True)).settings
    if not has_key(known):
        raise GantrickError("--wandb: no key is configured here; use `wandb login`, or compare run folders")
    return wandb.Api(timeout=TIMEOUT)
