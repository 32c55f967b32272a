"""Settings: layers and where a value came from, names, bad values, presets and profiles."""

from __future__ import annotations

import pytest

from bb3.app.settings import load, presets
from bb3.core.errors import UsageError
from bb3.modules.catalog import MODULES
from bb3.modules.sampling import family

OTHER = {"model": "openai:http://localhost#some-model"}


@pytest.fixture
def written(tmp_path):
    """Writes a settings file."""

    def write(text: str | bytes, name: str = "bb3.toml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


class TestLayers:
    def test_defaults_have_no_origin(self):
        loaded = load(OTHER, {}, [])
        assert loaded.origin.get("safety") is None
        assert ("safety", "all", "default") in list(loaded.rows())

    def test_each_stands_over_the_one_before(self, written):
        user = written('[pipeline]\ndocuments = 2\nwindow = 2\nsearch = "never"\n', "user.toml")
        here = written("[pipeline]\ndocuments = 3\nwindow = 3\n")
        environ = {"BB3_PIPELINE__DOCUMENTS": "4"}
        expected = [
            (({}, {}, []), 5, "default"),
            (({}, {}, [user]), 2, str(user)),
            (({}, {}, [user, here]), 3, str(here)),
            (({}, environ, [user, here]), 4, "environment BB3_PIPELINE__DOCUMENTS"),
            (({"pipeline.documents": "6"}, environ, [user, here]), 6, "command line"),
        ]
        for (flags, env, files), value, layer in expected:
            loaded = load(OTHER | flags, env, files)
            assert loaded.settings.pipeline.documents == value
            assert loaded.origin.get("pipeline.documents", "default") == layer
        assert loaded.settings.pipeline.window == 3
        assert loaded.settings.pipeline.search == "never"
        assert loaded.origin["pipeline.search"] == str(user)

    def test_files_that_are_not_there_are_skipped(self, tmp_path):
        assert load(OTHER, {}, [tmp_path / "none.toml"]).settings.safety == "all"

    def test_the_preset_stands_over_the_profile_and_under_the_files(self, written):
        flags = OTHER | {"preset": "seeker"}
        loaded = load(flags, {}, [written('[pipeline]\nmemory = "always"\n')])
        assert loaded.settings.pipeline.memory == "always"
        assert loaded.settings.pipeline.entity == "never"
        assert loaded.origin["pipeline.entity"] == "preset seeker"
        chosen = load(OTHER, {"BB3_PRESET": "bb1"}, [written('preset = "seeker"\n')])
        assert chosen.settings.pipeline.search == "never"


class TestNames:
    def test_environment(self):
        environ = {
            "BB3_MODEL": "x.gguf",
            "BB3_RETRIEVAL__READ_PAGES": "no",
            "BB3_SRM__TOP_P": "0.8",
            "BB3_MODULES__VRM__TOP_P": "0.7",
            "BB3_THRESHOLDS__SDM": "1.5",
            "BB3_TEST_SOMETHING": "is not ours",
            "BB30": "neither",
            "HOME": "nor this",
        }
        settings = load({}, environ, []).settings
        assert settings.model == "x.gguf"
        assert settings.retrieval.read_pages is False
        assert settings.thresholds["sdm"] == 1.5
        pipeline = settings.pipeline_for("chat")
        assert pipeline.sampling["srm"].top_p == 0.8
        assert pipeline.sampling["vrm"].top_p == 0.7
        assert pipeline.thresholds["sdm"] == 1.5

    def test_a_tag_stands_for_its_table(self):
        pipeline = load(OTHER | {"srm.top_p": "0.8"}, {}, []).settings.pipeline_for("opt")
        assert pipeline.sampling["srm"].top_p == 0.8
        assert pipeline.sampling["srm"].max_tokens == family("opt")["srm"].max_tokens
        assert pipeline.sampling["vrm"] == family("opt")["vrm"]

    @pytest.mark.parametrize("tag", MODULES)
    def test_every_module_can_be_set(self, tag):
        pipeline = load(OTHER | {f"{tag}.max_tokens": 77}, {}, []).settings.pipeline_for("r2c2")
        assert pipeline.sampling[tag].max_tokens == 77


BAD = [
    ("nope", "1", "nope (command line) is not a setting"),
    ("pipeline.nope", "1", "pipeline.nope (command line) is not a setting"),
    ("pipeline.search", "maybe", "pipeline.search (command line): Input should be 'always'"),
    ("pipeline.window", "0", "pipeline.window (command line)"),
    ("pipeline.window", "many", "pipeline.window (command line)"),
    ("pipeline.documents", "-1", "pipeline.documents (command line)"),
    ("pipeline.documents", "1000", "pipeline.documents (command line)"),
    ("pipeline.module_deadline_s", "0", "pipeline.module_deadline_s (command line)"),
    ("pipeline.find_deadline_s", "-1", "pipeline.find_deadline_s (command line)"),
    ("pipeline.turn_deadline_s", "nan", "pipeline.turn_deadline_s (command line)"),
    ("pipeline.remember", "maybe", "pipeline.remember (command line)"),
    ("pipeline", "x", "pipeline (command line)"),
    ("memory.min_overlap", "5", "memory.min_overlap (command line)"),
    ("memory.max_memories", "0", "memory.max_memories (command line)"),
    ("memory.hard_block_turns", "-1", "memory.hard_block_turns (command line)"),
    ("memory.soft_block_decay", "1.5", "memory.soft_block_decay (command line)"),
    ("engine.threads", "-1", "engine.threads (command line)"),
    ("engine.context_tokens", "1", "engine.context_tokens (command line)"),
    ("server.retries", "x", "server.retries (command line)"),
    ("server", "x", "server (command line)"),
    ("retrieval.chunk", "whole", "retrieval.chunk (command line)"),
    ("safety", "ALL", "safety (command line): Input should be 'none', 'words' or 'all'"),
    ("dialect", "gpt", "dialect (command line)"),
    ("model.x", "1", "model (command line)"),
    ("preset", "bb4", "There is no preset 'bb4'. There are: bb1, bb2, bb3, seeker."),
    ("preset", "../presets/bb1", "There is no preset"),
    ("thresholds.srm", "1", "thresholds.srm (command line): only the decisions sdm and mdm"),
    ("thresholds.sdm", "x", "thresholds.sdm (command line)"),
    ("srm.top_p", "5", "modules.srm.top_p is 5.0, outside 0 to 1 (command line)."),
    ("srm.topp", "5", "modules.srm.topp is not a sampling parameter (command line)."),
    ("srm.max_tokens", "x", "modules.srm.max_tokens cannot be 'x' (command line)."),
    ("srm", "x", "modules.srm (command line)"),
    ("modules", "x", "modules (command line)"),
    ("modules.xyz.top_p", "1", "modules.xyz (command line): there is no module 'xyz'."),
    ("", "1", "'' is not the name of a setting."),
    ("a..b", "1", "'a..b' is not the name of a setting."),
    (".", "1", "'.' is not the name of a setting."),
]


@pytest.mark.parametrize(("name", "value", "message"), BAD)
def test_bad_values_name_setting_and_layer(name, value, message):
    with pytest.raises(UsageError) as caught:
        load(OTHER | {name: value}, {}, [])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = [", "cannot be read"),
        (b"\xff\xfe", "cannot be read"),
        ("pipeline = 3", "pipeline ({path})"),
        ("[pipeline.search]\na = 1", "pipeline.search ({path})"),
        ("[pipeline]\nsearch = 1", "pipeline.search ({path})"),
        ("model = 5", "model ({path})"),
        ("[srm]\ntop_p = 1", "srm ({path}) is not a setting"),
        ("[modules.srm]\ntop_p = 2", "modules.srm.top_p is 2.0, outside 0 to 1 ({path})."),
        ("[modules]\nsrm = 5", "modules.srm ({path})"),
        ("[modules.srm]\nstop = 5", "modules.srm.stop cannot be 5 ({path})."),
        ("assets = 1", "assets ({path})"),
        ('[server]\napi_key = ["sk-secret"]', "server.api_key ({path})"),
    ],
)
def test_bad_files_are_named(written, text, message):
    path = written(text)
    with pytest.raises(UsageError) as caught:
        load({}, {}, [path])
    assert message.format(path=path) in str(caught.value)
    assert str(path) in str(caught.value)
    assert "sk-secret" not in str(caught.value)


def test_a_folder_is_no_settings_file(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        load({}, {}, [tmp_path])


def test_the_layer_at_fault_is_named_not_the_first_one(written):
    path = written("[pipeline]\ndocuments = 3\n")
    with pytest.raises(UsageError, match=r"pipeline.documents \(environment BB3_PIPELINE__DOC"):
        load({}, {"BB3_PIPELINE__DOCUMENTS": "x"}, [path])


def test_min_tokens_are_held_against_the_module():
    settings = load(OTHER | {"sdm.min_tokens": 50}, {}, []).settings
    with pytest.raises(UsageError, match=r"modules.sdm.min_tokens is 50, more than"):
        settings.pipeline_for("chat")


def test_secrets_are_masked():
    environ = {"BB3_SERVER__API_KEY": "sk-secret", "BB3_RETRIEVAL__API_KEY": "key-secret"}
    loaded = load({}, environ, [])
    assert loaded.settings.server.api_key.get_secret_value() == "sk-secret"
    shown = f"{list(loaded.rows())} {loaded} {loaded.settings!r}"
    assert "secret" not in shown.lower().replace("secretstr", "")
    values = {name: value for name, value, _ in loaded.rows()}
    assert values["server.api_key"] == "**********"
    assert load({}, {}, []).settings.server.api_key.get_secret_value() == ""


class TestFolders:
    def test_are_absolute_and_of_ones_own_home(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        flags = {"data_dir": "~/bb3", "cache_dir": "cache", "assets": "~/a.toml:b.toml"}
        settings = load(OTHER | flags, {}, []).settings
        monkeypatch.chdir("/")
        assert settings.data_dir == tmp_path / "bb3"
        assert settings.cache_dir == tmp_path / "cache"
        assert settings.assets == [tmp_path / "a.toml", tmp_path / "b.toml"]

    @pytest.mark.parametrize("name", ["data_dir", "cache_dir", "assets"])
    @pytest.mark.parametrize(
        ("value", "why"),
        [
            ("~nosuch/x", "no such user"),
            ("x" * 300, "too long"),
            ("a\0b", "null (?:byte|character)"),
        ],
    )
    def test_that_can_be_none(self, name, value, why):
        with pytest.raises(UsageError, match=rf"{name}.* \(command line\): '.*{why}"):
            load(OTHER | {name: value}, {}, [])


class TestPresets:
    @pytest.mark.parametrize(
        ("name", "search", "memory", "entity", "remember", "opening"),
        [
            ("bb3", "compute", "compute", "compute", True, True),
            ("bb2", "compute", "compute", "never", True, True),
            ("seeker", "compute", "never", "never", False, False),
            ("bb1", "never", "never", "never", False, False),
        ],
    )
    def test_values(self, name, search, memory, entity, remember, opening):
        pipeline = load(OTHER | {"preset": name}, {}, []).settings.pipeline_for("chat")
        assert (pipeline.search, pipeline.memory, pipeline.entity) == (search, memory, entity)
        assert (pipeline.remember, pipeline.remember_own) == (remember, remember)
        assert pipeline.opening is opening

    def test_all_are_listed(self):
        assert presets() == ["bb1", "bb2", "bb3", "seeker"]


class TestProfiles:
    @pytest.mark.parametrize("dialect", ["opt", "r2c2"])
    def test_the_released_systems_reply_with_srms_parameters(self, dialect):
        for settings in (
            load(OTHER, {}, [], dialect=dialect).settings,
            load(OTHER | {"dialect": dialect}, {}, []).settings,
        ):
            assert settings.pipeline_for(dialect).combined_response == "srm"
        assert load(OTHER, {}, [], dialect="chat").settings.pipeline.combined_response == ""

    @pytest.mark.parametrize(
        "model", ["smollm2-135m", "/models/SmolLM2-135M-Instruct.Q4_1.gguf", "openai:http://x#SmolLM2-135M"]
    )  # fmt: skip
    def test_by_the_name_of_the_model(self, model):
        loaded = load({"model": model}, {}, [])
        assert set(loaded.settings.thresholds) == {"sdm", "mdm"}
        assert loaded.origin["thresholds.sdm"] == "profile of smollm2-135m*"
        assert load({"model": "other.gguf"}, {}, []).settings.thresholds == {}

    def test_settings_stand_over_profiles(self):
        settings = load({"thresholds.sdm": "0.25"}, {}, []).settings
        assert settings.thresholds["sdm"] == 0.25
        assert settings.thresholds["mdm"] != 0.25

    def test_a_response_that_is_no_module(self):
        settings = load(OTHER | {"pipeline.combined_response": "xyz"}, {}, []).settings
        with pytest.raises(UsageError, match=r"pipeline.combined_response is 'xyz', not a module"):
            settings.pipeline_for("chat")


@pytest.mark.parametrize("dialect", ["opt", "fewshot", "chat", "r2c2"])
def test_pipelines_have_their_dialects_parameters(dialect):
    settings = load(OTHER, {}, [], dialect=dialect).settings
    assert settings.pipeline_for(dialect).sampling == family(dialect)
