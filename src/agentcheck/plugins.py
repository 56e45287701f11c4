"""Built-ins as an ordered tuple, strangers by entry point (group ``agentcheck``); one registry of names.

Listing plugins imports no factory: hooks return ``"package.module:attribute"`` strings, which are resolved when a
suite names them. A plugin that fails to load, a misspelt hook or a name that is taken stops the run and is named.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import metadata
from typing import Any

import pluggy

from agentcheck import hookspecs
from agentcheck.errors import CannotImport, PluginError, SuiteError

GROUP = "agentcheck"
#: One module per room, in the order in which names are listed. They hold names only.
BUILTINS = (
    "agentcheck.agents.builtin",
    "agentcheck.worlds.builtin",
    "agentcheck.metrics.builtin",
    "agentcheck.datasets.builtin",
    "agentcheck.reporting.builtin",
    "agentcheck.storage.builtin",
    "agentcheck.anchors.builtin",
)


@dataclass(frozen=True)
class Entry:
    """A registered name: what it is, which plugin brought it, and the factory or the reference to it."""

    kind: str
    name: str
    plugin: str
    target: Any

    @property
    def reference(self) -> str:
        """Where the factory lives, for ``agentcheck list``."""
        if isinstance(self.target, str):
            return self.target
        return f"{getattr(self.target, '__module__', '?')}:{getattr(self.target, '__qualname__', self.target)}"


class Registry:
    """All names by kind. Build one with `load`."""

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self.manager = manager
        self._entries: dict[tuple[str, str], Entry] = {}
        self._resolved: dict[tuple[str, str], Any] = {}
        for hook_name in hookspecs.KINDS:
            for implementation in getattr(manager.hook, f"agentcheck_{hook_name}").get_hookimpls():
                self._take(hook_name, implementation)

    def _take(self, kind: str, implementation: Any) -> None:
        plugin = implementation.plugin_name
        try:
            names = dict(implementation.function())
        except Exception as error:
            raise PluginError(f"plugin {plugin}: agentcheck_{kind}() failed: {error!r}") from error
        for name, target in names.items():
            taken = self._entries.get((kind, name))
            if taken is not None:
                raise PluginError(
                    f"plugin {plugin} brings the {hookspecs.KINDS[kind]} {name!r}, which {taken.plugin} already brings",
                    advice="rename one of the two",
                )
            self._entries[kind, name] = Entry(kind, name, plugin, target)

    def entries(self, kind: str | None = None) -> Iterator[Entry]:
        """Entries in the order of registration, of one kind or of all."""
        return (entry for entry in self._entries.values() if kind is None or entry.kind == kind)

    def names(self, kind: str) -> tuple[str, ...]:
        """Registered names of a kind."""
        return tuple(entry.name for entry in self.entries(kind))

    def get(self, kind: str, name: str, *, where: str = "") -> Any:
        """The factory behind a name; a name with a colon is imported as ``package.module:attribute``.

        Raises:
            SuiteError: no such name (the nearest known one is suggested).
            PluginError: its module does not import, or lacks the attribute.
        """
        if (kind, name) in self._resolved:
            return self._resolved[kind, name]
        entry = self._entries.get((kind, name))
        if entry is None and ":" not in name:
            known = self.names(kind)
            near = get_close_matches(name, known, 1)
            module, _, attribute = name.rpartition(".")
            # A name with a dot and no colon is most likely code of the user's own.
            meant = near[0] if near else f"{module}:{attribute}" if module and attribute else ""
            raise SuiteError(
                f"no {hookspecs.KINDS[kind]} is called {name!r}",
                where=where,
                advice=(f"did you mean {meant!r}? " if meant else "")
                + (f"known: {', '.join(known)}; " if known else "")
                + "code of your own is written 'package.module:attribute'",
            )
        target = entry.target if entry else name
        if isinstance(target, str):
            target = resolve(target, plugin=entry.plugin if entry else "", where=where)
        self._resolved[kind, name] = target
        return target


def resolve(reference: str, *, plugin: str = "", where: str = "") -> Any:
    """Import ``package.module:attribute``.

    Raises:
        PluginError: it does not import or lacks the attribute; plugin and place are named.
    """
    module_name, _, attribute = reference.partition(":")
    by = f" (from plugin {plugin})" if plugin else ""
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:
        raise CannotImport(module_name, error, where=where, by=by) from error
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            near = get_close_matches(part, dir(found), 1)
            raise PluginError(
                f"{module_name!r}{by} has no {attribute!r}",
                where=where,
                advice=f"did you mean {near[0]!r}?" if near else "write it as module:attribute",
            ) from None
    return found


def load(extra: Iterable[Any] = (), *, entry_points: bool = True) -> Registry:
    """Load built-ins, then plugins by entry point, then ``extra`` ones; stop at the first that fails, by name.

    Raises:
        PluginError: a plugin does not import, implements an unknown hook, or takes a name.
    """
    manager = pluggy.PluginManager("agentcheck")
    manager.add_hookspecs(hookspecs)
    for name in BUILTINS:
        _register(manager, importlib.import_module(name), "agentcheck")
    if entry_points:
        for point in metadata.entry_points(group=GROUP):
            try:
                plugin = point.load()
            except Exception as error:
                raise PluginError(
                    f"plugin {point.name!r} ({point.value}) does not load: {type(error).__name__}: {error}",
                    advice=f"uninstall or mend {point.dist.name if point.dist else point.name}",
                ) from error
            _register(manager, plugin, point.name)
    for plugin in extra:
        _register(manager, plugin, getattr(plugin, "__name__", repr(plugin)))
    return Registry(manager)


def _register(manager: pluggy.PluginManager, plugin: Any, name: str) -> None:
    label = getattr(plugin, "__name__", name) if name == "agentcheck" else name
    misspelt = [hook for hook in dir(plugin) if hook.startswith("agentcheck_") and not hasattr(manager.hook, hook)]
    if misspelt:
        near = get_close_matches(misspelt[0], [f"agentcheck_{kind}" for kind in hookspecs.KINDS], 1)
        raise PluginError(
            f"plugin {label}: unknown hook {misspelt[0]!r}", advice=f"did you mean {near[0]!r}?" if near else ""
        )
    try:
        manager.register(plugin, label)
        manager.check_pending()
    except Exception as error:
        raise PluginError(f"plugin {label}: {error}") from error
