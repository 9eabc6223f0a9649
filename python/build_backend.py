"""Builds the wheel of actscope: PEP 517 and PEP 660 with nothing but Python itself.

The wheel holds the package and, in actscope/_native, the library, the program and the header they were built with. They
come from $ACTSCOPE_BUILD if that is set, else from build/ of the source tree around this folder, which is brought up to
date with `make` first. The version is the header's.
"""
from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sysconfig
import zipfile

try:
    import tomllib
except ImportError:  # Python 3.10 and before
    import tomli as tomllib

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(HERE)
HEADER = os.path.join(TREE, "include", "actscope.h")
EXECUTABLE, PLAIN = 0o755, 0o644


def _read(*path: str) -> bytes:
    with open(os.path.join(*path), "rb") as file:
        return file.read()


def _project() -> dict:
    return tomllib.loads(_read(HERE, "pyproject.toml").decode())["project"]


def _version() -> str:
    if not os.path.exists(HEADER):
        raise RuntimeError("actscope builds from its source tree: there is no include/actscope.h beside the folder python/")
    return re.search(r'VERSION_STRING "(.*?)"', _read(HEADER).decode())[1]


def _built() -> str:
    """The folder with libactscope.so and actscope."""
    chosen = os.environ.get("ACTSCOPE_BUILD")
    if chosen:
        return os.path.join(TREE, chosen)
    # What calls this may itself be a make: its flags are not for ours.
    clean = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    subprocess.run(["make", "-C", TREE, f"-j{os.cpu_count() or 1}", "all"], check=True, env=clean)
    return os.path.join(TREE, "build")


def _metadata() -> dict:
    """The files of actscope-VERSION.dist-info but RECORD."""
    project, version = _project(), _version()
    lines = ["Metadata-Version: 2.1", f"Name: {project['name']}", f"Version: {version}", f"Summary: {project['description']}",
             f"Requires-Python: {project['requires-python']}", f"License: {project['license']['text']}",
             f"Keywords: {','.join(project['keywords'])}"]
    for extra, needs in project["optional-dependencies"].items():
        lines += [f"Provides-Extra: {extra}"] + [f"Requires-Dist: {need}; extra == '{extra}'" for need in needs]
    scripts = "".join(f"{name} = {target}\n" for name, target in project["scripts"].items())
    tag = "py3-none-" + re.sub(r"[^\w]", "_", sysconfig.get_platform())
    return {
        "METADATA": ("\n".join(lines) + "\n").encode(),
        "WHEEL": f"Wheel-Version: 1.0\nGenerator: actscope\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
        "entry_points.txt": f"[console_scripts]\n{scripts}".encode(),
        "LICENSE": _read(TREE, "LICENSE"),
    }


def _tag(metadata: dict) -> str:
    return re.search(r"Tag: (.*)", metadata["WHEEL"].decode())[1]


def _write(folder: str, files: dict) -> str:
    """files: name in the wheel -> (bytes, mode). Returns the wheel's name."""
    metadata = _metadata()
    info = f"actscope-{_version()}.dist-info"
    files = {**files, **{f"{info}/{name}": (data, PLAIN) for name, data in metadata.items()}}
    record = ""
    wheel = f"actscope-{_version()}-{_tag(metadata)}.whl"
    with zipfile.ZipFile(os.path.join(folder, wheel), "w", zipfile.ZIP_DEFLATED) as archive:
        for name, (data, mode) in sorted(files.items()):
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record += f"{name},sha256={digest},{len(data)}\n"
            _add(archive, name, data, mode)
        _add(archive, f"{info}/RECORD", (record + f"{info}/RECORD,,\n").encode(), PLAIN)
    return wheel


def _add(archive: zipfile.ZipFile, name: str, data: bytes, mode: int) -> None:
    entry = zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0))  # the same bytes from the same files
    entry.external_attr = (0o100000 | mode) << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    archive.writestr(entry, data)


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    build, files = _built(), {}
    for folder, folders, names in os.walk(os.path.join(HERE, "actscope")):
        folders[:] = [name for name in folders if name not in ("__pycache__", "_native")]
        for name in names:
            if name.endswith((".py", "py.typed")):
                path = os.path.join(folder, name)
                files[os.path.relpath(path, HERE)] = (_read(path), PLAIN)
    files["actscope/_native/actscope.h"] = (_read(HEADER), PLAIN)
    files["actscope/_native/libactscope.so"] = (_read(build, "libactscope.so"), EXECUTABLE)
    files["actscope/_native/actscope"] = (_read(build, "actscope"), EXECUTABLE)
    return _write(wheel_directory, files)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """The package stays where it is, and finds build/ of its tree."""
    _built()
    return _write(wheel_directory, {"_actscope_editable.pth": ((HERE + "\n").encode(), PLAIN)})


def build_sdist(sdist_directory, config_settings=None):
    raise RuntimeError("there is no source distribution of the package alone: build from the source tree")


def get_requires_for_build_wheel(config_settings=None):
    return []


get_requires_for_build_editable = get_requires_for_build_wheel
