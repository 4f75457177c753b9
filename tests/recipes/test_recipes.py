"""Recipes load as written, extend one another key by key, and say which key is wrong."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from immune_data import recipes
from immune_data.common.errors import ImmuneError
from immune_data.recipes import Recipe

SHIPPED = (
    *("published", "risk", "unified-clean", "unified-edge", "unified-v1", "unified-v2"),
    "unified-v3",
)


def write(folder: Path, text: str, name: str = "mine.toml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def extend(folder: Path, text: str, parent: str = "unified-v2") -> Recipe:
    return recipes.load(str(write(folder, f'extends = "{parent}"\n{text}')))


def complaint(name_or_path: str | Path) -> str:
    with pytest.raises(ImmuneError) as caught:
        recipes.load(str(name_or_path))
    message = str(caught.value)
    assert "\n" not in message
    return message


# Shipped recipes


def test_the_documented_recipes_are_shipped() -> None:
    assert set(recipes.names()) == set(SHIPPED)
    assert recipes.DEFAULT == "unified-v2"


@pytest.mark.parametrize("name", recipes.names())
def test_every_shipped_recipe_loads(name: str) -> None:
    recipe = recipes.load(name)
    assert recipe.name == name
    assert recipe.description
    assert (recipe.prompts_folder / "cause.user.txt").is_file()
    assert recipes.load(str(recipes.SHIPPED / f"{name}.toml")) == recipe


def test_the_documented_thresholds() -> None:
    recipe = recipes.load("unified-v2")
    gates = recipe.gates
    assert (gates.summary_score_min, gates.cause_total_min, gates.risk_total_min) == (4, 14, 10)
    lengths = [gates.summary_length, gates.cause_length, gates.risk_length]
    assert [(length.min, length.max) for length in lengths] == [(50, 400), (50, 600), (30, 300)]
    assert {length.unit for length in lengths} == {"chars4"}
    lengths = [recipe.risk.cause_length, recipe.risk.risk_length]
    assert [(length.min, length.max) for length in lengths] == [(50, 600), (30, 300)]
    assert {length.unit for length in lengths} == {"words"}
    assert (recipe.split.eval_share, recipe.split.seed) == (0.1, 42)
    assert (recipe.risk.eval_share, recipe.risk.seed) == (0.1, 42)
    assert (recipe.dag.limit, recipe.dag.unit) == (3500, "tokens")
    assert recipe.dag_marker == "[truncated: showing first ~3500 tokens of full DAG]"
    assert recipe.records.max_sequence_tokens == 4096
    assert set(recipe.models) == {"gpt-4o", "gpt-4o-mini", "qwen2.5-3b", "qwen2.5-1.5b"}


@pytest.mark.parametrize(
    ("name", "section", "changes"),
    [
        ("unified-v1", "records", {"augmentation": "none"}),
        ("unified-v3", "records", {"cause_risk_copies": 2}),
        ("risk", "records", {"augmentation": "none", "dataset": "risk"}),
        ("published", "dag", {"unit": "words"}),
    ],
)
def test_the_others_change_what_they_are_documented_to_change(
    name: str, section: str, changes: dict
) -> None:
    expected = msgspec.to_builtins(recipes.load("unified-v2"))
    result = msgspec.to_builtins(recipes.load(name))
    expected[section] |= changes
    for key in ("name", "description"):
        del expected[key], result[key]
    assert result == expected


# Extending


def test_a_recipe_extends_a_shipped_one_by_name(tmp_path: Path) -> None:
    recipe = extend(tmp_path, 'description = "mine"\n[dag]\nlimit = 10')
    assert (recipe.name, recipe.description) == ("mine", "mine")
    assert (recipe.dag.limit, recipe.dag.unit) == (10, "tokens")
    assert recipe.dag_marker == "[truncated: showing first ~10 tokens of full DAG]"
    assert recipe.gates == recipes.load("unified-v2").gates


def test_a_recipe_extends_another_by_a_path_from_where_it_lies(tmp_path: Path) -> None:
    write(tmp_path / "base", 'extends = "published"\n[split]\nseed = 7', "house.toml")
    recipe = extend(tmp_path / "mine", "[split]\neval_share = 0.2", "../base/house.toml")
    assert (recipe.split.seed, recipe.split.eval_share) == (7, 0.2)
    assert recipe.dag.unit == "words"


def test_tables_are_overlaid_key_by_key_and_lists_replaced(tmp_path: Path) -> None:
    recipe = extend(
        tmp_path,
        """
        [gates]
        cause_length.max = 700
        [models."gpt-4o"]
        spellings = ["4o"]
        [models.mistral]
        summaries = "llm_mistral"
        cause_risk = "cause_risk_mistral"
        spellings = ["Mistral"]
        """,
    )
    base = recipes.load("unified-v2")
    assert recipe.gates.cause_length == msgspec.structs.replace(base.gates.cause_length, max=700)
    assert recipe.gates.risk_length == base.gates.risk_length
    assert recipe.models["gpt-4o"].spellings == ("4o",)
    assert recipe.models["gpt-4o"].summaries == base.models["gpt-4o"].summaries
    assert set(recipe.models) == {*base.models, "mistral"}


def test_judge_runs_are_replaced_as_a_list(tmp_path: Path) -> None:
    runs = "".join(
        f"""
        [[sources.judge_runs]]
        file = "{kind}.json"
        judges = "{kind}"
        judge = "me"
        provider = "home"
        """
        for kind in ("summary", "cause_risk")
    )
    recipe = extend(tmp_path, runs)
    assert [run.file for run in recipe.sources.judge_runs] == ["summary.json", "cause_risk.json"]
    assert [run.tasks for run in recipe.sources.judge_runs] == [("summary",), ("cause", "risk")]
    assert recipe.sources.summaries == recipes.load("unified-v2").sources.summaries


def test_prompts_are_found_from_the_recipe_that_names_them(tmp_path: Path) -> None:
    write(tmp_path / "base", 'extends = "unified-v2"\nprompts = "texts"', "house.toml")
    recipe = extend(tmp_path / "mine", "", "../base/house.toml")
    assert recipe.prompts_folder == (tmp_path / "base" / "texts").resolve()
    recipe = extend(tmp_path / "mine", 'prompts = "../own"', "../base/house.toml")
    assert recipe.prompts_folder == (tmp_path / "own").resolve()
    assert extend(tmp_path, "").prompts_folder == recipes.load("unified-v2").prompts_folder


def test_a_path_is_taken_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "here", 'extends = "risk"')
    monkeypatch.chdir(tmp_path)
    assert recipes.load("here/mine.toml").records.dataset == "risk"
    assert recipes.load(str(tmp_path / "here" / "mine.toml")).name == "mine"


@pytest.mark.parametrize("length", [1, 2, 3])
def test_recipes_that_extend_one_another_in_a_circle(length: int, tmp_path: Path) -> None:
    for i in range(length):
        write(tmp_path, f'extends = "{(i + 1) % length}.toml"', f"{i}.toml")
    message = complaint(tmp_path / "0.toml")
    assert "`extends` leads back to itself" in message
    assert "0.toml" in message


# Errors


def test_an_unknown_recipe_names_the_known_ones() -> None:
    message = complaint("unified-v9")
    assert message.startswith("there is no recipe unified-v9")
    for name in SHIPPED:
        assert name in message


@pytest.mark.parametrize("name", ["missing.toml", "../missing.toml", "", "unified-v2/", "../risk"])
def test_a_recipe_that_is_not_there(name: str) -> None:
    assert complaint(name).startswith("there is no recipe")


def test_an_unknown_parent_is_named(tmp_path: Path) -> None:
    assert "unified-v9" in complaint(write(tmp_path, 'extends = "unified-v9"'))
    assert "`extends`" in complaint(write(tmp_path, "extends = 2"))
    assert "house.toml" in complaint(write(tmp_path, 'extends = "house.toml"'))


@pytest.mark.parametrize("text", ["extends", "[gates", 'a = "1', "a = 1\na = 2"])
def test_a_file_that_is_not_toml(text: str, tmp_path: Path) -> None:
    message = complaint(write(tmp_path, text))
    assert "mine.toml is not TOML" in message


def test_a_file_that_is_not_utf_8(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b'description = "\xe9"')
    assert "mine.toml is not UTF-8 (byte 15): save it as UTF-8" in complaint(path)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        # unknown
        ("speed = 1", "speed"),
        ("[gates]\nsummary_scores_min = 4", "summary_scores_min"),
        ("[gates.summary_length]\nminimum = 1", "minimum"),
        ("[models.x]\nsummaries='a'\ncause_risk='b'\nspellings=[]\nspelling='c'", "spelling"),
        ("[records]\ncopies = 2", "copies"),
        # missing
        ("[models.x]\nsummaries = 'a'\nspellings = []", "cause_risk"),
        ("[[sources.judge_runs]]\nfile = 'a'", "judges"),
        # of a wrong type
        ("description = 1", "description"),
        ("prompts = ['a']", "prompts"),
        ("gates = 3", "gates"),
        ("models = []", "models"),
        ("[gates]\nsummary_score_min = '4'", "gates.summary_score_min"),
        ("[gates]\nsummary_score_min = true", "gates.summary_score_min"),
        ("[gates]\nrisk_level = 1", "gates.risk_level"),
        ("[gates.summary_length]\nmin = 1.5", "gates.summary_length.min"),
        ("[dag]\nlimit = '3500'", "dag.limit"),
        ("[split]\nseed = 4.2", "split.seed"),
        # without sense
        ("[gates]\nsummary_score_min = -1", "gates.summary_score_min"),
        ("[gates]\nsummary_score_min = 11", "gates.summary_score_min"),
        ("[gates]\ncause_total_min = 31", "gates.cause_total_min"),
        ("[gates]\nrisk_total_min = 30.5", "gates.risk_total_min"),
        ("[gates]\nrisk_total_min = nan", "gates.risk_total_min"),
        ("[gates]\nrisk_total_min = inf", "gates.risk_total_min"),
        ("[judging]\ncombine = 'median'", "judging.combine"),
        ("[judging]\nmargin = -0.5", "judging.margin"),
        ("[judging]\nmargin = 30.5", "judging.margin"),
        ("[judging]\nmargin = nan", "judging.margin"),
        ("[gates]\nlook_at = 'none'", "gates.look_at"),
        ("[gates.risk_length]\nmin = 301", "gates.risk_length"),
        ("[gates.summary_length]\nmax = 49", "gates.summary_length"),
        ("[gates.cause_length]\nmin = -1", "gates.cause_length.min"),
        ("[gates.cause_length]\nunit = 'letters'", "gates.cause_length.unit"),
        ("[risk.cause_length]\nmin = 601", "risk.cause_length"),
        ("[split]\neval_share = 1.0", "split.eval_share"),
        ("[split]\neval_share = 0", "split.eval_share"),
        ("[split]\neval_share = -0.1", "split.eval_share"),
        ("[split]\neval_share = nan", "split.eval_share"),
        ("[split]\nseed = -1", "split.seed"),
        ("[split]\nmethod = 'sorted'", "split.method"),
        ("[split]\nmethod = 'groups'\neval_share = 0", "split.eval_share"),
        ("[split]\nmethod = 'hashed'\neval_share = -0.0001", "split.eval_share"),
        ("[split]\nkey = ''", "split.key"),
        ("[split]\nkey = ' immune'", "split.key"),
        ('[split]\nkey = "im\\nmune"', "split.key"),
        ("[risk]\neval_share = 1", "risk.eval_share"),
        ("[risk]\nseed = 4294967296", "risk.seed"),
        ("[dag]\nlimit = 0", "dag.limit"),
        ("[dag]\nunit = 'chars4'", "dag.unit"),
        ("[dag]\nmarker = ''", "dag.marker"),
        ("[dag]\nmarker = ' '", "dag.marker"),
        ("[dag]\nmarker = ' cut'", "dag.marker"),
        ('[dag]\nmarker = "cut\\n"', "dag.marker"),
        ('[dag]\nmarker = "two\\nlines"', "dag.marker"),
        ('[dag]\nmarker = "two\\u2028lines"', "dag.marker"),
        ("[records]\ncause_risk_copies = 0", "records.cause_risk_copies"),
        ("[records]\nmax_sequence_tokens = 0", "records.max_sequence_tokens"),
        ("[records]\ndataset = 'both'", "records.dataset"),
        ("[records]\naugmentation = 'all'", "records.augmentation"),
        ("[models.'']\nsummaries='a'\ncause_risk='b'\nspellings=[]", "models"),
        ("[models.'gpt-4o']\nspellings = ['']", "models[...].spellings[0]"),
        ("[sources]\nsummaries = ''", "sources.summaries"),
        ("[sources]\nsummaries = '../a.json'", "sources"),
        ("[sources]\nsummaries = 'a/b.json'", "sources"),
        ("[sources]\nsummaries = 'a.json.gz'", "sources"),
        ("[sources]\nsummaries = '.'", "sources"),
        ("[sources]\nsummaries = 'risk_dataset_v2.json'", "sources"),
        ("[sources]\njudge_runs = []", "sources.judge_runs"),
    ],
)
def test_an_error_names_its_key_and_file(text: str, key: str, tmp_path: Path) -> None:
    path = write(tmp_path, f'extends = "unified-v2"\n{text}')
    message = complaint(path)
    assert message.startswith(f"recipe {path}: ")
    assert f"`{key}`" in message


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[gate]\nrisk_level = true", "unknown key `gate`: did you mean gates?"),
        ("[gates]\nlookat = 'any'", "unknown key `lookat` in `gates`: did you mean look_at?"),
        ("[records]\nprompts_layout = 'x'", "did you mean prompt_layout?"),
        ("[models.x]\nspelling = []", "did you mean spellings?"),
        ("[[sources.judge_runs]]\nfiles = 'a'", "did you mean file?"),
        ("[risk.cause_length]\nunits = 'words'", "did you mean unit?"),
        ("[dag]\nxyzzy = 1", "known are form, values, limit, unit, marker, within_context"),
        ("[gates]\nlook_at = 'eny'", "`gates.look_at` is 'eny': use one of any, winner"),
        ("[split]\nmethod = 'random'", "use one of groups, hashed, shuffle"),
        ("[gates.cause_length]\nunit = 'chars'", "is 'chars': use one of chars4, tokens, words"),
        ("[choice]\nrisk = 'best'", "use one of cause_winner, own"),
    ],
)
def test_an_error_says_what_may_have_been_meant(text: str, hint: str, tmp_path: Path) -> None:
    assert hint in complaint(write(tmp_path, f'extends = "unified-v2"\n{text}'))


def test_an_unknown_key_at_the_top_may_be_extends(tmp_path: Path) -> None:
    message = complaint(write(tmp_path, 'extend = "unified-v2"'))
    assert "unknown key `extend`: did you mean extends?" in message


def test_a_recipe_that_extends_nothing_names_what_it_lacks(tmp_path: Path) -> None:
    assert "missing required field `description`" in complaint(write(tmp_path, ""))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("summaries", "'llm_gpt_4o_analysis'"),
        ("cause_risk", "'cause_risk_gpt_4o'"),
        ("spellings", "['X', 'GPT-4o']"),
    ],
)
def test_two_models_cannot_share_a_field_or_a_spelling(
    field: str, value: str, tmp_path: Path
) -> None:
    fields = {"summaries": "'a'", "cause_risk": "'b'", "spellings": "['c']", field: value}
    lines = "".join(f"{name} = {text}\n" for name, text in fields.items())
    message = complaint(write(tmp_path, f'extends = "unified-v2"\n[models.x]\n{lines}'))
    assert "`models`" in message
    assert f"`{field}`" in message
    assert "gpt-4o and x" in message


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        ([("a.json", "summary", [])], "cause_risk"),
        ([("a.json", "cause_risk", [])], "summary"),
        ([("a.json", "summary", []), ("a.json", "cause_risk", [])], "a.json twice"),
        ([("a.json", "summary", ["c.json"]), ("b.json", "cause_risk", [])], "c.json"),
        ([("x/a.json", "summary", []), ("b.json", "cause_risk", [])], "x/a.json"),
    ],
)
def test_judge_runs_without_sense(
    runs: list[tuple[str, str, list[str]]], expected: str, tmp_path: Path
) -> None:
    text = "".join(
        f"[[sources.judge_runs]]\nfile = '{file}'\njudges = '{judges}'\njudge = 'j'\n"
        f"provider = 'p'\ninstead_of = {instead_of}\n"
        for file, judges, instead_of in runs
    )
    message = complaint(write(tmp_path, f'extends = "unified-v2"\n{text}'))
    assert "`sources" in message
    assert expected in message


@pytest.mark.parametrize(
    "name", ['a"b.toml', "a b.toml", ".toml", "main.toml", "..toml", "a;b.toml", "tempo/x.toml"]
)
def test_a_file_name_that_cannot_name_folder_and_schema(name: str, tmp_path: Path) -> None:
    """A recipe's name is its file's, and becomes a folder under `sft` and a schema."""
    folder, _, file = name.rpartition("/")
    path = write(tmp_path / folder, 'extends = "unified-v2"', file)
    if folder:
        assert recipes.load(str(path)).name == "x"
    else:
        assert "rename the file" in complaint(path)


@pytest.mark.parametrize(
    "text",
    [
        'prompts = "a\\u0000b"',
        'description = "\\u001b[31mred"',
        'dag.marker = "\\u009b2J"',
        'models."a\\u0007b".summaries = "x"',
        'sources.judge_runs = [{ file = "\\u0000" }]',
    ],
)
def test_a_control_character_is_refused(text: str, tmp_path: Path) -> None:
    message = complaint(write(tmp_path, f'extends = "unified-v2"\n{text}'))
    assert "mine.toml holds a control character in '" in message
    assert message.isprintable()


@pytest.mark.parametrize("parent", ["x\\u0000.toml", "\\u0000"])
def test_a_parent_with_a_zero_byte_is_not_there(parent: str, tmp_path: Path) -> None:
    assert "control character" in complaint(write(tmp_path, f'extends = "{parent}"'))


@pytest.mark.parametrize(
    "key", ["dag.limit", "records.max_sequence_tokens", "gates.risk_length.max"]
)
def test_no_count_is_beyond_all_reason(key: str, tmp_path: Path) -> None:
    section = key.rpartition(".")[0].split(".")[0]
    for number in (2**31, 2**63, 10**30):
        message = complaint(write(tmp_path, f'extends = "unified-v2"\n{key} = {number}'))
        assert key in message
        assert section in message


def test_recipes_nested_beyond_all_reason(tmp_path: Path) -> None:
    deep = "[" * 20_000 + "]" * 20_000
    assert "nested too deeply" in complaint(write(tmp_path, f"a = {deep}"))
    for i in range(2_000):
        write(tmp_path, f'extends = "r{i + 1}.toml"', f"r{i}.toml")
    assert "nested too deeply" in complaint(tmp_path / "r0.toml")


@pytest.mark.parametrize("name", ["../recipes/unified-v2", "./unified-v2", "unified-v2/../risk"])
def test_a_shipped_recipe_has_a_name_and_no_path(name: str) -> None:
    assert f"no recipe {name}: " in complaint(name)
