"""Copies Python and the libraries it needs, of this build image, into an empty root: no shell, no package manager."""

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

VENV = Path("/app/venv")
UNUSED = ("test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "pydoc_data", "config-*")
NOT_OURS = ("site-packages", "dist-packages", "sitecustomize.py", "__pycache__")
PLAIN = (
    "/etc/os-release",
    "/etc/debian_version",
    "/etc/nsswitch.conf",
    "/etc/ld.so.cache",
    "/etc/ssl/certs/ca-certificates.crt",
)
USERS = "root:x:0:0:root:/:/sbin/nologin\nservice:x:10001:10001:Magnesium CDS:/:/sbin/nologin\n"
GROUPS = "root:x:0:\nservice:x:10001:\n"
AUTHORITIES = Path("/usr/share/ca-certificates")  # of the package that /etc/ssl/certs/ca-certificates.crt is made from


def main(root: Path) -> None:
    """Fill `root`; the Debian packages that files come from stay on record for scanners, with their licences."""
    for name in ("bin", "lib", "lib64", "sbin"):  # /lib is /usr/lib: what is linked against either finds it
        if (link := Path("/", name)).is_symlink():
            keep_link(link, root)
    stdlib = Path(sysconfig.get_path("stdlib"))
    shutil.copytree(stdlib, root / stdlib.relative_to("/"), ignore=shutil.ignore_patterns(*UNUSED, *NOT_OURS))
    interpreter = keep_interpreter(root)
    modules = list(stdlib.rglob("*.so"))
    libraries = sorted(linked([interpreter, *modules, *VENV.rglob("*.so*")]))
    files = [interpreter, *libraries, *map(Path, PLAIN)]
    for file in files:
        keep(file, root)
    record_packages([*files, *modules, stdlib / "os.py", AUTHORITIES], root)
    (root / "etc/passwd").write_text(USERS)
    (root / "etc/group").write_text(GROUPS)
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)


def keep(file: Path, root: Path) -> None:
    """Copy `file` under its own name into its real folder below `root`."""
    target = root / file.parent.resolve().relative_to("/") / file.name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(file, target)


def keep_link(link: Path, root: Path) -> None:
    target = root / link.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(link.readlink())


def keep_interpreter(root: Path) -> Path:
    """Copy the links from the virtual environment to the interpreter; the interpreter itself."""
    step = VENV / "bin/python"
    while step.is_symlink():
        if VENV not in step.parents:
            keep_link(step, root)
        step = step.parent / step.readlink()
    return step


def linked(binaries: Iterable[Path]) -> Iterator[Path]:
    """The shared libraries of the system that the loader finds for `binaries`, and those that glibc opens by name."""
    resolved = said("ldd", *map(str, binaries))
    found = {Path(name) for name in re.findall(r"(?:=> |^\t)(/\S+)", resolved, re.MULTILINE)}
    system = {path for path in found if VENV not in path.parents}
    libc = next(path for path in system if path.name.startswith("libc.so"))
    return iter(system | {libc.with_name("libgcc_s.so.1")})  # without it glibc cannot end a thread


def record_packages(files: Iterable[Path], root: Path) -> None:
    """Write dpkg's record and the copyright file of every package that one of `files` belongs to."""
    real = {str(file.resolve()) for file in files}
    names = [*real, *(name.removeprefix("/usr") for name in real)]  # dpkg knows some by their name before the merge
    for package in sorted(owners(said("dpkg-query", "-S", *names))):
        record = root / "var/lib/dpkg/status.d" / package
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(said("dpkg-query", "-s", package))
        if (licence := Path("/usr/share/doc", package, "copyright")).exists():
            keep(licence, root)


def owners(found: str) -> set[str]:
    """The packages in what dpkg-query says, such as "libc6:amd64, base-files: /lib"; diversions own nothing."""
    lines = [line for line in found.splitlines() if not line.startswith("diversion by ")]
    return {name.split(":")[0] for line in lines for name in line.rpartition(": ")[0].split(", ")}


def said(*command: str) -> str:
    """What the command printed; it may fail for some of its arguments, such as a file of no package."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603  fixed commands


if __name__ == "__main__":
    main(Path(sys.argv[1]))
