"""From recipes to archives: layers that are made once, images on top of images."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import appliance
from appliance.bundle.collect.licences import deb_licence, wheel_metadata
from appliance.bundle.images import oci, rules
from appliance.bundle.images.debs import Packages
from appliance.bundle.images.layers import AGENT, Kitchen, Parts, Step
from appliance.bundle.images.llama import LlamaBuilder
from appliance.bundle.images.oci import Built, Layer, Runtime
from appliance.bundle.images.recipe import Image, chain, load_defaults, load_image
from appliance.bundle.images.wheels import WheelHouse
from appliance.core.canonical import file_hash, sha256_hex, value_hash
from appliance.core.durable import read_json, write_json
from appliance.core.errors import BundleRecipeError
from appliance.core.progress import NoProgress, Progress

EPOCH_VARIABLE = "SOURCE_DATE_EPOCH"
PREFIX = "appliance"


@dataclass(frozen=True)
class Options:
    """Where things lie, and what a caller may choose."""

    images: Path
    cache: Path
    out: Path
    fresh_packages: bool = False
    remake_layers: bool = False
    llama: Path | None = None
    mirrors: tuple[str, ...] = ()
    everything: bool = False
    agent: Path = AGENT


class Builder:
    """Builds the images of one folder of recipes."""

    def __init__(self, options: Options, progress: Progress | None = None) -> None:
        """Read what all images share."""
        self._options = options
        self._progress = progress or NoProgress()
        defaults = load_defaults(options.images)
        if options.mirrors:
            defaults = defaults.model_copy(update={"mirrors": list(options.mirrors)})
        self._defaults = defaults
        self.epoch = int(os.environ.get(EPOCH_VARIABLE, defaults.source_date_epoch))
        house = WheelHouse(options.cache, options.images / "locks", defaults.python)
        llama = LlamaBuilder(options.images, options.cache, house, defaults, self.epoch)
        self._kitchen = Kitchen(
            options.images,
            defaults.python,
            Packages(options.cache, defaults, fresh=options.fresh_packages),
            house,
            lambda cuda: llama.get(options.llama, cuda=cuda),
            llama.source,
            options.agent,
        )
        self._code = code_hash()

    def build(self, name: str) -> dict[str, Any]:
        """Write the archive of image ``name`` and its description; return the description."""
        image = load_image(self._options.images, name)
        if not image.built_here and not self._options.everything:
            raise BundleRecipeError(
                expected="an image that is made in minutes",
                found=f"{name}, which takes gigabytes of wheels or hours of compiling",
                remedy="Read docs/it/images.md on what it needs, then say --everything.",
            )
        names = chain(self._options.images, name)
        steps, parts = self._kitchen.steps(names)
        layers: list[Layer] = []
        for number, step in enumerate(steps):
            self._progress.update(number, len(steps), f"{name}: {step.comment}")
            layers.append(self._layer(name, image, step))
        reference = f"{PREFIX}/{name}:{appliance.__version__}"
        built = oci.assemble(reference, layers, self._runtime(name, names), epoch=self.epoch)
        rules.require_size(name, built.unpacked, image)
        self._progress.update(len(steps), len(steps), f"{name}: archive")
        return self._write(name, built, parts)

    def _layer(self, name: str, image: Image, step: Step) -> Layer:
        key = value_hash([step.inputs, image.shell, self.epoch, self._defaults.python, self._code])
        folder = self._options.cache / "layers"
        note = folder / f"{key}.json"
        if not self._options.remake_layers and note.is_file():
            kept = read_json(note)
            path = folder / kept["digest"]
            if path.is_file() and file_hash(path) == kept["digest"]:
                return Layer(path=path, **kept)
        tree = step.make()
        rules.require(name, tree, image)
        layer = oci.write_layer(tree, folder, epoch=self.epoch, comment=step.comment)
        write_json(note, layer.to_dict())
        return layer

    def _runtime(self, name: str, names: list[str]) -> Runtime:
        images = [load_image(self._options.images, n) for n in names]
        image = images[-1]
        environment = {k: v for below in images for k, v in below.environment.items()}
        return Runtime(
            user=f"{image.user}:{image.group}",
            environment=environment,
            entrypoint=image.entrypoint,
            command=image.command,
            working_folder=image.working_folder,
            ports=image.ports,
            labels={
                **self._defaults.labels,
                "org.opencontainers.image.title": f"{PREFIX}-{name}",
                "org.opencontainers.image.description": image.title,
                "org.opencontainers.image.version": appliance.__version__,
                "org.hospital-ai-appliance.accelerator": image.accelerator,
            },
            health=image.health,
        )

    def _write(self, name: str, built: Built, parts: Parts) -> dict[str, Any]:
        out, pool = self._options.out, self._options.cache / "debs"
        archive = out / f"{name}.oci.tar"
        digest = oci.write_archive(built, archive, epoch=self.epoch)
        description = {
            "name": name,
            "reference": built.reference,
            "image_id": built.image_id,
            "manifest": f"sha256:{sha256_hex(built.manifest)}",
            "archive": {
                "file": archive.name,
                "sha256": digest,
                "bytes": archive.stat().st_size,
            },
            "bytes_unpacked": built.unpacked,
            "layers": [layer.to_dict() for layer in built.layers],
            "debian": [
                asdict(deb) | {"licence": deb_licence(pool / deb.file, deb.name)}
                for deb in sorted(parts.debs, key=lambda d: d.name)
            ],
            "wheels": [
                {
                    "name": w.name,
                    "version": w.version,
                    "file": w.file,
                    "sha256": w.sha256,
                    "licence": wheel_metadata(w.path)[2],
                }
                for w in sorted(parts.wheels, key=lambda w: w.name)
            ],
            "llama": None if parts.llama is None else parts.llama.identity(),
            "llama_server": parts.llama is not None and parts.llama.has_server,
            "source_date_epoch": self.epoch,
        }
        write_json(out / f"{name}.json", description, mode=0o644)
        return description


def code_hash() -> str:
    """Return the hash of what makes layers: a change of it makes them all anew."""
    here = Path(__file__).parent
    makers = ("bytecode.py", "debs.py", "layers.py", "oci.py", "tree.py", "wheels.py", "rules.py")
    return value_hash([file_hash(here / name) for name in makers])
