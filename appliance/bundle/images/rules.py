"""What no image may hold. Checked on the whole tree before a layer is written.

A service that is broken into finds no shell, no package manager, no program that changes its
rights, and no weights to carry away (CIS Docker 4.8, 4.1; NIST SP 800-190 4.1).
"""

from __future__ import annotations

from pathlib import PurePosixPath

from appliance.bundle.images.recipe import Image
from appliance.bundle.images.tree import SETID, Node, Tree
from appliance.core.errors import ImageRefusedError

SHELLS = frozenset({"sh", "bash", "dash", "rbash", "zsh", "ksh", "csh", "tcsh", "busybox", "perl"})
MANAGERS = frozenset({"apt", "apt-get", "dpkg", "dpkg-deb", "pip", "pip3", "uv", "curl", "wget"})
WEIGHT_NAMES = (".gguf", ".ggml", ".safetensors", ".ckpt", ".onnx", ".pt", ".h5")
WEIGHT_NAMES_ANY = ("pytorch_model.bin", "consolidated.00.pth", "adapter_model.bin")
GGUF_MAGIC = b"GGUF"
# Vocabularies and test vectors are small; the smallest weights anyone serves are not.
WEIGHT_BYTES = 1 << 20
WORLD_WRITABLE = 0o002
STICKY = 0o1000


def faults(tree: Tree, image: Image) -> list[str]:
    """Return every broken rule, by path."""
    found: list[str] = []
    for path, node in sorted(tree.nodes.items()):
        found.extend(f"{word}: {path}" for word in _words(path, node, shell=image.shell))
    return found


def _words(path: str, node: Node, *, shell: bool) -> list[str]:
    words: list[str] = []
    name = PurePosixPath(path).name
    program = path.startswith(("usr/bin/", "usr/sbin/", "usr/local/bin/"))
    if node.kind != "link" and node.mode & SETID:
        words.append("setuid or setgid")
    if node.kind != "link" and node.mode & WORLD_WRITABLE and not node.mode & STICKY:
        words.append("writable for all")
    if program and name in SHELLS and not shell:
        words.append("a shell")
    if program and name in MANAGERS:
        words.append("a package manager")
    if name.endswith(".pth"):
        words.append("code that runs at every start")
    if node.kind == "file" and _weights(name, node):
        words.append("weights")
    return words


def _weights(name: str, node: Node) -> bool:
    lower = name.lower()
    if lower in WEIGHT_NAMES_ANY:
        return True
    data = node.data()
    if len(data) < WEIGHT_BYTES:
        return False
    return lower.endswith(WEIGHT_NAMES) or data.startswith(GGUF_MAGIC)


def require(name: str, tree: Tree, image: Image) -> None:
    """Raise ``ImageRefusedError`` when a rule is broken."""
    found = faults(tree, image)
    if found:
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""  # noqa: PLR2004 - five are shown
        raise ImageRefusedError(
            expected=f"image {name} to keep the rules for images",
            found="; ".join(found[:5]) + more,
        )


def require_size(name: str, unpacked: int, image: Image) -> None:
    """Raise ``ImageRefusedError`` when the image is larger than its recipe allows (10^6 bytes)."""
    limit = image.size_limit_mb
    if limit is not None and unpacked > limit * 1_000_000:
        raise ImageRefusedError(
            expected=f"image {name} of at most {limit} MB", found=f"{unpacked / 1e6:.0f} MB"
        )
