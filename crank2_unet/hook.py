"""Import hook: Crank2 and CCP4i2 meet this package without a file of theirs being touched.

``crank2_unet_hook.pth``, which lies beside the installed package, calls :func:`start` whenever an
interpreter starts; so nothing is imported here but ``sys``, and nothing happens until one of the
modules named below is imported.  ``CRANK2_UNET_HOOK=off`` in the environment switches it off.
"""

import sys

# Module -> our "module:function", which is called with the module once it has been imported.  Crank2
# up to CCP4i2 2.x is a folder of scripts on sys.path, in CCP4i2 3.x the package crank2.
AFTER_IMPORT = {
    "parse": "crank2_unet.crank2.activation:activate",
    "crank2.parse": "crank2_unet.crank2.activation:activate",
    "ccp4i2.core.tasks": "crank2_unet.ccp4i2.registration:add_to_tasks",  # CCP4i2 3
    "core.CCP4TaskManager": "crank2_unet.ccp4i2.registration:add_to_task_manager",  # CCP4i2 2.6
}
# Modules of Crank2 that it does not bring along -> our file that is executed under that name, because
# its base class is that of the importing Crank2.  A module that Crank2 has itself is left alone.
PROVIDED = {
    f"{prefix}{name}": f"crank2/{name.rpartition('.')[2]}.py"
    for prefix in ("", "crank2.") for name in ("processes.segmentmap", "programs.unetsegment")
}


def start() -> None:
    """Put the hook in front of the import system, once."""
    import os  # as sys, loaded before any .pth file

    if os.environ.get("CRANK2_UNET_HOOK", "").lower() != "off" and not _started():
        sys.meta_path.insert(0, _Finder())


def stop() -> None:
    """Take the hook away again; modules that were changed stay so."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]


def _started() -> bool:
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


class _Finder:
    """Finder of sys.meta_path that knows the names above only."""

    def find_spec(self, name, path=None, target=None):
        if name not in AFTER_IMPORT and name not in PROVIDED:
            return None
        spec = self._found_by_others(name, path, target)
        if spec is None:
            return _provided(name, path)
        if name in AFTER_IMPORT and spec.loader is not None:
            _call_after_import(spec.loader, name, AFTER_IMPORT[name])
        return spec

    def _found_by_others(self, name, path, target):
        for finder in sys.meta_path:
            if not isinstance(finder, _Finder):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    return spec
        return None


def _provided(name, path):
    """Spec of our file for a module that Crank2 lacks; None if the folder is not Crank2's."""
    from importlib.util import spec_from_file_location
    from pathlib import Path

    if name in PROVIDED and any(is_crank2(Path(folder).parent) for folder in path or ()):
        return spec_from_file_location(name, Path(__file__).parent / PROVIDED[name])
    return None


def is_crank2(folder) -> bool:
    """Is this folder (a Path) that of Crank2's modules?  Names such as parse are not unique."""
    return (folder / "processes" / "dmfull.py").is_file() and (folder / "process.py").is_file()


def _call_after_import(loader, name, target) -> None:
    """Let the loader of a module call our function after it has executed the module."""
    execute = loader.exec_module

    def exec_module(module):
        execute(module)
        if module.__name__ == name:  # some loaders serve several modules
            del loader.exec_module
            _call(target, module)

    loader.exec_module = exec_module


def _call(target, module) -> None:
    """Call our function; whatever goes wrong, the module is imported as if we were not there."""
    from importlib import import_module

    where, _, function = target.partition(":")
    try:
        getattr(import_module(where), function)(module)
    except Exception as error:
        print(f"WARNING: crank2-unet could not connect to {module.__name__} and is not used there "
              f"({type(error).__name__}: {error}).", file=sys.stderr)
