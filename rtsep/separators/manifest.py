"""The manifest: what a model folder says about itself, checked when it is read.

A causal model is a folder with `manifest.json`, the streaming graph (ONNX) and, if torch is to run it too,
the weights (safetensors). An offline model, which needs the sound that is still to come, has weights only.
The manifest carries everything that a backend must know before it opens either file: the stream's shape, the
recurrent state's names and shapes, and the size and SHA-256 of each file.
"""

from __future__ import annotations

import json
import math
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from rtsep.spec import AudioSpec, ModelError, StreamSpec

FORMAT: Literal[1] = 1
"""Version of the manifest's own layout; raised when a field changes its meaning."""

MANIFEST_NAME = "manifest.json"

Positive = Annotated[int, Field(gt=0)]

Checked = TypeVar("Checked", bound=BaseModel)


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Window(_Record):
    """Sizes, in samples, of a spectral model's windows; see `rtsep.dsp.windows.asymmetric_pair`."""

    analysis: Positive
    synthesis: Positive


class StateEntry(_Record):
    """One recurrent tensor: float32, the shape of a batch of one.

    The ONNX graph takes it as `state.<name>` and returns it as `next.<name>`.
    """

    name: Annotated[str, Field(min_length=1)]
    shape: Annotated[tuple[Positive, ...], Field(min_length=1)]


class FileEntry(_Record):
    """A file of the model: where it lies in the folder, and what it must be."""

    path: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Positive

    @field_validator("path")
    @classmethod
    def _inside_the_folder(cls, path: str) -> str:
        # A manifest may come from anyone: it must not name a file outside its own folder.
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\\" in path or ":" in path:
            raise ValueError("must be a relative path inside the model's folder")
        return path


class Files(_Record):
    """The files of a causal model: the streaming graph for ONNX Runtime and, if torch can run it, weights."""

    weights: FileEntry | None = None
    onnx: FileEntry


class OfflineFiles(_Record):
    """The file of an offline model."""

    weights: FileEntry


class _Description(_Record):
    """What every manifest says, whatever the model's kind."""

    format: Literal[1] = FORMAT
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    title: str
    description: str
    architecture: str
    version: str
    licence: str
    sample_rate: Positive
    channels: Positive
    stems: Annotated[tuple[str, ...], Field(min_length=1)]
    config: dict[str, Any]
    scores: dict[str, float] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)

    @field_validator("stems")
    @classmethod
    def _distinct(cls, stems: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(stems)) != len(stems):
            raise ValueError("stems must be distinct")
        return stems

    def write(self, path: Path) -> None:
        """Write as indented JSON, ending in a newline."""
        path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")


class OfflineManifest(_Description):
    """All that is known of an offline model without opening its weights.

    Attributes:
        kind: "offline": the network needs the whole song, or a long piece of it, at once.
        chunk: samples that are separated at once; longer songs go in several.
        overlap: samples over which the stems of two chunks are cross-faded; at most half a chunk.
        files: the weights; None for a method that is built in, see `Manifest`.

    The others are those of `Manifest`.
    """

    kind: Literal["offline"]
    chunk: Positive
    overlap: Positive
    files: OfflineFiles | None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if 2 * self.overlap > self.chunk:
            raise ValueError("overlap must be at most half a chunk")
        return self

    @property
    def spec(self) -> AudioSpec:
        """What the model takes and gives."""
        return AudioSpec(self.sample_rate, self.channels, self.stems)


class Manifest(_Description):
    """All that is known of a causal model without opening its weights.

    Attributes:
        kind: "causal": it separates a stream, hop by hop.
        format: layout of the manifest itself.
        name: what the user types; the folder's name.
        title: the same for people, a few words.
        description: a sentence or two.
        architecture: key into `rtsep.separators.catalogue`.
        version: of these weights.
        licence: SPDX identifier or a sentence.
        sample_rate: Hz.
        channels: in, and out per stem.
        stems: in output order.
        hop: samples per step.
        delay: samples by which the output trails the input, as in `StreamSpec`.
        domain: what a step of the network takes: "waveform" or "spectrum".
        window: sizes of the windows of a spectral model, null for a waveform model.
        state: the recurrent tensors, in the order of the graph's inputs.
        config: the network's own configuration, as its config class reads it.
        files: the graph and, unless only ONNX Runtime can run the model, the weights. None for a method
            that is built in and was never trained (`rtsep.separators.builtin`); in a folder there are some.
        scores: figures by name, such as "vocals_sdr_db".
        training: how the weights came to be: data, command, duration.
    """

    kind: Literal["causal"] = "causal"
    hop: Positive
    delay: Annotated[int, Field(ge=0)]
    domain: Literal["waveform", "spectrum"]
    window: Window | None = None
    state: tuple[StateEntry, ...]
    files: Files | None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [entry.name for entry in self.state]
        if len(set(names)) != len(names):
            raise ValueError("state names must be distinct")
        if self.domain == "waveform":
            if self.window is not None:
                raise ValueError("a waveform model has no window")
        elif self.window is None:
            raise ValueError("a spectrum model needs its window")
        elif self.window.synthesis > self.window.analysis:
            raise ValueError("window: synthesis must not be longer than analysis")
        elif self.delay != self.window.synthesis - self.hop:
            raise ValueError("delay must be the synthesis window minus the hop")
        return self

    @property
    def spec(self) -> StreamSpec:
        """The stream's shape."""
        return StreamSpec(self.sample_rate, self.channels, self.stems, self.hop, self.delay)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of a step's input: (1, channels, hop), or (1, channels, bins, 2) for spectra."""
        if self.window is None:
            return (1, self.channels, self.hop)
        return (1, self.channels, self.window.analysis // 2 + 1, 2)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of a step's output: the input's, with the stems after the batch axis."""
        return (1, len(self.stems), *self.input_shape[1:])

    @property
    def state_bytes(self) -> int:
        """Memory of one copy of the recurrent state."""
        return 4 * sum(math.prod(entry.shape) for entry in self.state)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """Read and check the manifest of a causal model.

        Raises:
            ModelError: naming the file, and the field that is missing or wrong.
        """
        return parse(cls, _content(path), path)


Known = TypeVar("Known", Manifest, OfflineManifest)


def read_manifest(path: Path) -> Manifest | OfflineManifest:
    """Read and check a manifest of either kind.

    Raises:
        ModelError: naming the file, and the field that is missing or wrong.
    """
    content = _content(path)
    if isinstance(content, dict) and content.get("kind") == "offline":
        return _with_files(parse(OfflineManifest, content, path), path)
    return _with_files(parse(Manifest, content, path), path)


def parse(record: type[Checked], content: Any, source: Path) -> Checked:
    """Content as a record, checked.

    Args:
        record: the class of what is wanted.
        content: as it came from JSON or TOML.
        source: the file it came from, for the message.

    Raises:
        ModelError: naming the file, and the field that is missing or wrong.
    """
    try:
        return record.model_validate(content)
    except ValidationError as error:
        raise ModelError(f"{source}: {_first_of(error)}") from None


def _with_files(manifest: Known, path: Path) -> Known:
    if manifest.files is None:
        raise ModelError(f"{path}: field 'files': a model's folder needs its files")
    return manifest


def _content(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{path}: there is no such manifest") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: cannot be read: {error}") from None
    except json.JSONDecodeError as error:
        raise ModelError(f"{path}: not JSON: {error.msg} in line {error.lineno}") from None


def _first_of(error: ValidationError) -> str:
    """The first complaint of pydantic in one line, and how many more there are."""
    complaints = error.errors(include_url=False)
    first = complaints[0]
    field = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
    return (f"field '{field}': {message}" if field else message) + more
