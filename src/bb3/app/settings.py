"""Settings: what they are, where they come from, and what is wrong with them.

Layers, each standing over the one before: defaults, the model's profile, the preset, the
user's file, ``bb3.toml`` in the working folder, the environment (``BB3_MODEL``,
``BB3_PIPELINE__SEARCH`` ...), the command line. Every value remembers its layer.
"""

from __future__ import annotations

import fnmatch
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import platformdirs
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    SecretStr,
    ValidationError,
    create_model,
)
from pydantic import Field as PydanticField

from bb3.app.places import path_of, shown
from bb3.chat.pipeline import Pipeline
from bb3.core.errors import UsageError
from bb3.core.ports import Sampling
from bb3.memory.rules import MemoryRules
from bb3.modules.catalog import MODULES
from bb3.modules.sampling import family, override

_STRICT = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
_APART = ("sampling", "thresholds")  # have tables of their own
_SHARE: dict[str, Any] = {"ge": 0, "le": 1}
_COUNT: dict[str, Any] = {"ge": 1}
_SECONDS: dict[str, Any] = {"gt": 0}
_LIMITS: dict[str, dict[str, Any]] = {
    "window": _COUNT,
    "documents": {"ge": 1, "le": 50},
    "module_deadline_s": _SECONDS,
    "find_deadline_s": _SECONDS,
    "turn_deadline_s": _SECONDS,
    "min_overlap": _SHARE,
    "hard_block_turns": {"ge": 0},
    "soft_block_decay": _SHARE,
    "min_score": _SHARE,
    "max_memories": _COUNT,
    "min_grounded": _SHARE,
    "max_words": _COUNT,
    "max_chars": _COUNT,
}
"""What the tables of lower floors may hold, beyond their types."""


def _table_of(kind: type[Any], name: str) -> type[BaseModel]:
    """A checked table with the fields and defaults of a dataclass of a lower floor."""
    hints = get_type_hints(kind)
    known: dict[str, Any] = {
        f.name: (hints[f.name], PydanticField(f.default, **_LIMITS.get(f.name, {})))
        for f in fields(kind)
        if f.name not in _APART and f.default is not MISSING
    }
    return create_model(name, __config__=_STRICT, **known)


if TYPE_CHECKING:  # a type checker cannot see what is made at run time

    class PipelineTable(BaseModel):
        """The fields of Pipeline."""

    class MemoryTable(BaseModel):
        """The fields of MemoryRules."""

else:
    PipelineTable = _table_of(Pipeline, "PipelineTable")
    MemoryTable = _table_of(MemoryRules, "MemoryTable")


class EngineTable(BaseModel):
    """The engine of a model that runs in this process."""

    model_config = _STRICT

    threads: int = PydanticField(0, ge=0, le=1024, description="0: one less than there are cores")
    context_tokens: int = PydanticField(2048, ge=256, le=1_048_576)
    slots: int = PydanticField(16, ge=1, le=256, description="prompts kept in the cache")
    cache_tokens: int = PydanticField(12_288, ge=256, description="tokens all slots hold together")
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8"] = PydanticField(
        "auto", description="numbers of a network from a folder; int8: its weights only"
    )
    device: str = PydanticField("auto", description="of a network: cpu, cuda, cuda:1, mps or auto")


class ServerTable(BaseModel):
    """A model server, for ``openai:`` and ``metaseq:`` models."""

    model_config = _STRICT

    api_key: SecretStr = SecretStr("")
    flavour: Literal["auto", "openai", "vllm", "llamacpp"] = "auto"
    tokenizer: str = PydanticField(
        "",
        description="of a `metaseq:` model: a tokenizer.json, or a folder with GPT-2's vocab.json "
        "and merges.txt; empty: tokens are guessed, and a reply is also penalised for what it "
        "takes from the search",
    )
    concurrency: int = PydanticField(8, ge=1, le=1024)
    retries: int = PydanticField(3, ge=0, le=20)
    timeout_s: float = PydanticField(120.0, gt=0)


class RetrievalTable(BaseModel):
    """What is done around the search provider."""

    model_config = _STRICT

    api_key: SecretStr = SecretStr("")
    chunk: Literal["auto", "best", "opt", "r2c2"] = PydanticField(
        "auto", description="auto: as the dialect was trained, else the best chunk for the query"
    )
    read_pages: bool = PydanticField(True, description="fetch pages of which only a snippet came")
    allow_private: bool = PydanticField(False, description="let the fetcher into private networks")
    timeout_s: float = PydanticField(10.0, gt=0)
    cache_s: float = PydanticField(900.0, ge=0, description="how long results are kept; 0: not")


def _paths(value: Any) -> Any:
    """A list in a file of settings; in the environment and in flags one text, as in PATH."""
    return value.split(os.pathsep) if isinstance(value, str) else value


def _absolute(path: Path) -> Path:
    try:
        return path_of(path)
    except UsageError as error:
        raise ValueError(str(error).removesuffix(".")) from error  # pydantic tells the setting


Place = Annotated[Path, AfterValidator(_absolute)]
"""An absolute path, whatever folder bb3 is started in later; ``~`` is the user's own."""


class Settings(BaseModel):
    """All settings of bb3."""

    model_config = _STRICT

    model: str = PydanticField(
        "smollm2-135m",
        description="a name from `bb3 models list`, a .gguf file, a folder, openai:URL#name, "
        "or metaseq:URL",
    )
    fallback_model: str = PydanticField(
        "", description="as `model`: answers what that one fails at, in the same dialect"
    )
    dialect: Literal["", "opt", "fewshot", "chat", "r2c2"] = PydanticField(
        "", description="empty: the one the model understands best"
    )
    preset: str = PydanticField("bb3", description="a named pipeline: bb3, bb2, seeker, bb1")
    search: str = PydanticField(
        "local",
        description="local, local:NAME, parlai:URL, searxng:URL, brave, duckduckgo, or none; "
        "brave,local: the second is asked when the first fails or finds nothing",
    )
    safety: Literal["none", "words", "all"] = "all"
    persona: str = PydanticField(
        "", description="file with a line per fact about the bot, at most 50 of 300 characters"
    )
    tell_date: bool = PydanticField(False, description="tell the model today's date")
    store: str = PydanticField("", description="database file or URL; empty: in data_dir")
    data_dir: Place = PydanticField(default_factory=lambda: platformdirs.user_data_path("bb3"))
    cache_dir: Place = PydanticField(default_factory=lambda: platformdirs.user_cache_path("bb3"))
    assets: Annotated[list[Place], BeforeValidator(_paths)] = PydanticField(
        default_factory=list, description="further asset lists"
    )
    offline: bool = PydanticField(False, description="pull nothing, even on first use")
    engine: EngineTable = EngineTable()
    server: ServerTable = ServerTable()
    retrieval: RetrievalTable = RetrievalTable()
    pipeline: PipelineTable = PipelineTable()
    memory: MemoryTable = MemoryTable()
    thresholds: dict[str, float] = PydanticField(default_factory=dict)
    modules: dict[str, dict[str, Any]] = PydanticField(
        default_factory=dict, description="decoding parameters by tag: modules.srm.top_p"
    )

    def pipeline_for(self, dialect: str) -> Pipeline:
        """The pipeline, with the dialect's decoding parameters under the settings' own."""
        sampling: dict[str, Sampling] = dict(family(dialect))
        for tag, values in self.modules.items():
            sampling[tag] = override(sampling[tag], values, f"modules.{tag}")
        values = self.pipeline.model_dump()
        if values["combined_response"] not in ("", *MODULES):
            raise UsageError(
                f"pipeline.combined_response is {values['combined_response']!r}, not a module."
            )
        return Pipeline(**values, sampling=sampling, thresholds=dict(self.thresholds))

    def memory_rules(self) -> MemoryRules:
        """The rules of memory."""
        return MemoryRules(**self.memory.model_dump())


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings and, for every value that is not a default, the layer it came from."""

    settings: Settings
    origin: Mapping[str, str] = field(default_factory=dict)

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """(dotted name, value, layer) of every setting; secrets as stars, in addresses too."""
        for name, value in _flat(self.settings.model_dump()):
            text = shown("" if value is None else str(value))
            yield name, text, self.origin.get(name, "default")


Layer = tuple[str, Mapping[str, Any]]


def load(
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    settings_files: Sequence[Path],
    *,
    dialect: str = "",
) -> Loaded:
    """Read and check all layers.

    Args:
        flags: dotted name to value, from the command line.
        settings_files: TOML files, least important first; those that do not exist are skipped.
        dialect: the model's own dialect, once it is known, for its profile.

    Raises:
        UsageError: a file cannot be read, a name is unknown, a value is wrong; it names the
            setting and the layer.
    """
    given: list[Layer] = [(str(path), table) for path in settings_files if (table := _read(path))]
    given += [(f"environment {name}", table) for name, table in _environment(environ)]
    given += [("command line", _nested(name, value)) for name, value in flags.items()]
    model = _last(given, "model") or Settings.model_fields["model"].default
    dialect = _last(given, "dialect") or dialect
    preset = _last(given, "preset") or Settings.model_fields["preset"].default
    layers = [*_profiles(str(model), str(dialect)), (f"preset {preset}", _preset(str(preset)))]
    return _checked([*layers, *given])


def presets() -> list[str]:
    """Names of the built-in presets."""
    folder = files(__package__) / "presets"
    return sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.is_file())


# --- layers ---------------------------------------------------------------------------------


def _read(path: Path) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"The settings file {path} cannot be read: {error}.") from error


def _environment(environ: Mapping[str, str]) -> Iterator[Layer]:
    """``BB3_RETRIEVAL__READ_PAGES=no`` is ``retrieval.read_pages``; those of tests are not ours."""
    for name in sorted(environ):
        if name.startswith("BB3_") and not name.startswith("BB3_TEST_"):
            dotted = name.removeprefix("BB3_").lower().replace("__", ".")
            yield name, _nested(dotted, environ[name])


def _nested(dotted: str, value: Any) -> Mapping[str, Any]:
    """A table of tables with one value. A tag stands for its table under ``modules``."""
    parts = dotted.split(".")
    if parts[0] in MODULES:
        parts = ["modules", *parts]
    if not all(parts):
        raise UsageError(f"{dotted!r} is not the name of a setting.")
    for part in reversed(parts):
        value = {part: value}
    return value  # type: ignore[no-any-return]


def _profiles(model: str, dialect: str) -> Iterator[Layer]:
    name = model.replace("\\", "/").rsplit("/", 1)[-1].rsplit("#", 1)[-1].lower()
    table = tomllib.loads((files(__package__) / "profiles.toml").read_text(encoding="utf-8"))
    for profile in table["profile"]:
        match = profile["match"]
        if fnmatch.fnmatch(name, match.get("name", "*")) and (
            match.get("dialect", dialect) == dialect
        ):
            yield f"profile of {match.get('name') or 'dialect ' + dialect}", profile["settings"]


def _preset(name: str) -> Mapping[str, Any]:
    source = files(__package__) / "presets" / f"{name}.toml"
    if name not in presets():
        raise UsageError(
            f"There is no preset {name!r}.", remedy=f"There are: {', '.join(presets())}."
        )
    return tomllib.loads(source.read_text(encoding="utf-8"))


def _last(layers: Sequence[Layer], name: str) -> Any:
    values = [table[name] for _, table in layers if name in table]
    return values[-1] if values else None


def _checked(layers: Sequence[Layer]) -> Loaded:
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for layer, table in layers:
        for name, value in _flat(table):
            origin.pop(name, None)  # so that the last layer to speak stands last
            origin[name] = layer
            _put(merged, name, value)
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise UsageError(" ".join(_explained(error, origin))) from None
    for tag in settings.thresholds:
        if tag not in ("sdm", "mdm"):
            layer = _layer_of(f"thresholds.{tag}", origin)
            raise UsageError(
                f"thresholds.{tag} ({layer}): only the decisions sdm and mdm have a threshold."
            )
    for tag, values in settings.modules.items():
        if tag not in MODULES:
            layer = _layer_of(f"modules.{tag}", origin)
            raise UsageError(
                f"modules.{tag} ({layer}): there is no module {tag!r}.",
                remedy=f"There are: {' '.join(MODULES)}.",
            )
        for name, value in values.items():
            try:
                override(Sampling(max_tokens=4096), {name: value}, f"modules.{tag}")
            except UsageError as error:
                layer = _layer_of(f"modules.{tag}.{name}", origin)
                message = f"{error.message.removesuffix('.')} ({layer})."
                raise UsageError(message, remedy=error.remedy) from None
    return Loaded(settings, origin)


def _layer_of(name: str, origin: Mapping[str, str]) -> str:
    """The last layer that set a name, something below it, or the list that it is in."""
    layers = [v for k, v in origin.items() if f"{k}.".startswith(f"{name}.")
              or name.startswith(f"{k}.")]  # fmt: skip
    return layers[-1] if layers else "default"


def _explained(error: ValidationError, origin: Mapping[str, str]) -> Iterator[str]:
    for problem in error.errors(include_url=False, include_input=False):
        name = ".".join(str(part) for part in problem["loc"])
        layer = _layer_of(name, origin)
        if problem["type"] == "extra_forbidden":
            yield f"{name} ({layer}) is not a setting; `bb3 config show` lists them."
        else:
            yield f"{name} ({layer}): {problem['msg'].removeprefix('Value error, ')}."


def _flat(table: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in table.items():
        dotted = f"{before}{name}"
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{dotted}.")
        elif not isinstance(value, Mapping):
            yield dotted, value


def _put(table: dict[str, Any], dotted: str, value: Any) -> None:
    *path, name = dotted.split(".")
    for part in path:
        inner = table.setdefault(part, {})
        if not isinstance(inner, dict):
            inner = table[part] = {}
        table = inner
    table[name] = value
