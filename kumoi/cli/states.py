"""States as people read them; programs and pipes get the words of the interface."""

from kumoi.cli.language import _


def state_show(state: str) -> str:
    """A state of a service, of its revisions, replicas or rollout, in the language in use."""
    shown = {
        "active": _("active"),
        "deleting": _("deleting"),
        "deleted": _("deleted"),
        "starting": _("starting"),
        "ready": _("ready"),
        "unready": _("unready"),
        "draining": _("draining"),
        "ended": _("ended"),
        "rolling": _("rolling"),
        "serving": _("serving"),
        "retired": _("retired"),
        "failed": _("failed"),
        "paused": _("paused"),
        "done": _("done"),
    }
    return shown.get(state, state)
