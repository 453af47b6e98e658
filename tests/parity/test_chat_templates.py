"""Templates that write earlier messages another way once later ones follow: ids are those of transformers, and what is
trained is what the assistant says in them, with its end token."""

import json
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

BASE = Path(__file__).parent.parent / "golden" / "llama" / "recipes" / "base"

# After the habits of the models they are named for, without what they say about tools.
TEMPLATES = {
    # Thoughts are cut out of all answers, but the header opens them; tools' answers need no header.
    "deepseek-r1": (
        "{% set ns = namespace(is_tool=false, system='') %}{% for m in messages %}{% if m['role'] == 'system' %}"
        "{% set ns.system = m['content'] %}{% endif %}{% endfor %}{{ bos_token }}{{ ns.system }}{% for m in messages %}"
        "{% if m['role'] == 'user' %}{% set ns.is_tool = false %}{{ '<｜User｜>' + m['content'] }}{% endif %}"
        "{% if m['role'] == 'assistant' and m['tool_calls'] %}{% for t in m['tool_calls'] %}"
        "{{ '<｜Assistant｜><｜tool▁calls▁begin｜>' + t['function']['name'] + '\\n' + t['function']['arguments'] | tojson }}"
        "{% endfor %}{{ '<｜tool▁calls▁end｜>' + eos_token }}"
        "{% elif m['role'] == 'assistant' %}{% set content = m['content'] %}"
        "{% if ns.is_tool %}{{ '<｜tool▁outputs▁end｜>' + content + eos_token }}{% set ns.is_tool = false %}{% else %}"
        "{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}"
        "{{ '<｜Assistant｜>' + content + eos_token }}{% endif %}{% endif %}"
        "{% if m['role'] == 'tool' %}{% set ns.is_tool = true %}{{ '<｜tool▁outputs▁begin｜>' + m['content'] }}{% endif %}"
        "{% endfor %}{% if ns.is_tool %}{{ '<｜tool▁outputs▁end｜>' }}{% endif %}"
        "{% if add_generation_prompt and not ns.is_tool %}{{ '<｜Assistant｜><think>\\n' }}{% endif %}"
    ),
    # What the system says and the tools stand in the last of what the user says.
    "mistral-small": (
        "{% if messages[0]['role'] == 'system' %}{% set system = messages[0]['content'] %}{% set rest = messages[1:] %}"
        "{% else %}{% set rest = messages %}{% endif %}{% set users = rest | selectattr('role', 'equalto', 'user') | list %}"
        "{{ bos_token }}{% for m in rest %}{% if m['role'] == 'user' %}"
        "{% if tools and m == users[-1] %}{{ '[AVAILABLE_TOOLS]' + (tools | tojson) + '[/AVAILABLE_TOOLS]' }}{% endif %}"
        "{% if m == users[-1] and system is defined %}{{ '[INST]' + system + '\\n\\n' + m['content'] + '[/INST]' }}"
        "{% else %}{{ '[INST]' + m['content'] + '[/INST]' }}{% endif %}"
        "{% elif m['tool_calls'] is defined and m['tool_calls'] is not none %}{{ '[TOOL_CALLS][' }}{% for t in m['tool_calls'] %}"
        "{{ t['function'] | tojson }}{{ ', ' if not loop.last else ']' + eos_token }}{% endfor %}"
        "{% elif m['role'] == 'assistant' %}{{ m['content'] | trim + eos_token }}"
        "{% elif m['role'] == 'tool' %}{{ '[TOOL_RESULTS]{\"content\": ' + m['content'] | string + '}[/TOOL_RESULTS]' }}"
        "{% endif %}{% endfor %}"
    ),
    # Thoughts stay behind the user's last question only.
    "qwen3": (
        "{% set ns = namespace(open=true, last=messages | length - 1) %}{% for m in messages[::-1] %}"
        "{% set index = messages | length - 1 - loop.index0 %}{% if ns.open and m.role == 'user' and not "
        "(m.content.startswith('<tool_response>') and m.content.endswith('</tool_response>')) %}"
        "{% set ns.open = false %}{% set ns.last = index %}{% endif %}{% endfor %}{% for m in messages %}"
        "{% if m.role == 'tool' %}{{ '<|im_start|>user\\n<tool_response>\\n' + m.content + '\\n</tool_response><|im_end|>\\n' }}"
        "{% elif m.role != 'assistant' %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% else %}"
        "{% set content = m.content or '' %}{% set thoughts = m.reasoning_content or '' %}{% if '</think>' in content %}"
        "{% set thoughts = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}"
        "{% set content = content.split('</think>')[-1].lstrip('\\n') %}{% endif %}{{ '<|im_start|>assistant\\n' }}"
        "{% if loop.index0 > ns.last and (loop.last or thoughts) %}"
        "{{ '<think>\\n' + thoughts.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}{% else %}{{ content }}{% endif %}"
        "{% for t in m.tool_calls or [] %}{{ '\\n' if content or not loop.first }}"
        "{{ '<tool_call>\\n{\"name\": \"' + t.function.name + '\", \"arguments\": ' }}{{ t.function.arguments | tojson }}"
        "{{ '}\\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
    ),
    # One more token behind all of a conversation.
    "phi3": (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>\\n' + m['content'] + '<|end|>\\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"
    ),
}
TOKENS = {
    "deepseek-r1": ["<｜bos｜>", "<｜eos｜>", "<｜User｜>", "<｜Assistant｜>", "<think>", "</think>", "<｜tool▁calls▁end｜>"],
    "mistral-small": ["<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"],
    "qwen3": ["<|endoftext|>", "<|im_end|>", "<|im_start|>", "<think>", "</think>", "<tool_call>", "</tool_call>"],
    "phi3": ["<s>", "<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>", "<|system|>"],
}  # the first two: bos_token, eos_token


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def calls(name, **arguments):
    return {"tool_calls": [{"type": "function", "function": {"name": name, "arguments": arguments}}]}


SYSTEM, ANSWER = {"role": "system", "content": "Be kind."}, {"role": "tool", "content": "7"}
CALL = calls("add", a=3, b="<4>")

# Template, messages, what is trained of them.
CASES = {
    "cut thoughts": ("deepseek-r1", [
        SYSTEM, user("a\n"), assistant("<think>\nhm, <b>\n</think>\n\n<3 b "), user("c"), assistant("<think>\nso\n</think>\n\nd"),
    ], ["\n\n<3 b <｜eos｜>", "\n\nd<｜eos｜>"]),
    "cut thoughts of one answer": ("deepseek-r1", [user("a"), assistant("<think>hm</think>b")], ["b<｜eos｜>"]),
    "no thoughts": ("deepseek-r1", [user("a"), assistant("<thin>b")], ["<thin>b<｜eos｜>"]),
    "a call behind a header that opens thoughts": ("deepseek-r1", [
        user("a"), assistant(None, **CALL), ANSWER, assistant("b"), user("c"), assistant("</think>d"),
    ], ['<｜tool▁calls▁begin｜>add\n{"a": 3, "b": "<4>"}<｜tool▁calls▁end｜><｜eos｜>', "b<｜eos｜>", "d<｜eos｜>"]),
    "a moved system message": ("mistral-small", [
        SYSTEM, user("a"), assistant("b"), user("c"), assistant(" <i>d</i>\n"), user(" e"), assistant("[INST]"),
    ], ["b</s>", "<i>d</i></s>", "[INST]</s>"]),
    "a question that is asked again": ("mistral-small", [SYSTEM, user("a"), assistant("b"), user("a"), assistant("b")],
                                       ["b</s>", "b</s>"]),
    "a call before a moved system message": ("mistral-small", [
        SYSTEM, user("a"), assistant("", **CALL), ANSWER, assistant("b"), user("c"), assistant("d"),
    ], ['[TOOL_CALLS][{"name": "add", "arguments": {"a": 3, "b": "<4>"}}]</s>', "b</s>", "d</s>"]),
    "thoughts around a call": ("qwen3", [
        user("a"), assistant("", reasoning_content="hm", **CALL), ANSWER, assistant("b", reasoning_content="so"),
        user("c"), assistant("", reasoning_content="hm", **CALL), ANSWER, assistant("d", reasoning_content="yes\n"),
    ], ['<tool_call>\n{"name": "add", "arguments": {"a": 3, "b": "<4>"}}\n</tool_call><|im_end|>', "b<|im_end|>",
        '<think>\nhm\n</think>\n\n<tool_call>\n{"name": "add", "arguments": {"a": 3, "b": "<4>"}}\n</tool_call><|im_end|>',
        "<think>\nyes\n</think>\n\nd<|im_end|>"]),
    "thoughts in the text around a call": ("qwen3", [
        user("a"), assistant("<think>\nhm\n</think>\n\nx", **CALL), user("<tool_response>\n7\n</tool_response>"),
        assistant("<think>\nso\n</think>\n\n<b>"), user("c"), assistant("<think>\n\n</think>\n\n<d>"),
    ], ['x\n<tool_call>\n{"name": "add", "arguments": {"a": 3, "b": "<4>"}}\n</tool_call><|im_end|>', "<b><|im_end|>",
        "<think>\n\n</think>\n\n<d><|im_end|>"]),
    "a last token": ("phi3", [SYSTEM, user("a"), assistant("b "), user("c"), assistant("<d>"), user("e"), assistant("f")],
                     ["b <|end|>", "<d><|end|>", "f<|end|>\n<|endoftext|>"]),
}  # fmt: skip


def write_folder(folder, name):
    """The small vocabulary, with the model's special tokens behind it."""
    file = json.loads((BASE / "tokenizer.json").read_text())
    like, first = file["added_tokens"][0], 1 + max(token["id"] for token in file["added_tokens"])
    file["added_tokens"] += [like | {"id": first + i, "content": token} for i, token in enumerate(TOKENS[name])]
    file["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(file))
    config = {"bos_token": TOKENS[name][0], "eos_token": TOKENS[name][1], "chat_template": TEMPLATES[name]}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **config)


def runs_of(ids, trained):
    """The ids of each run of trained tokens."""
    runs, before = [], 0
    for one, is_trained in zip(ids, trained, strict=True):
        if is_trained and not before:
            runs.append([])
        if is_trained:
            runs[-1].append(one)
        before = is_trained
    return runs


@pytest.mark.parametrize("name", CASES)
def test_turns_of_templates_that_change_earlier_messages(millrace, tmp_path, name):
    template, messages, expected = CASES[name]
    theirs = write_folder(tmp_path, template)
    text = theirs.apply_chat_template(messages, tokenize=False)
    result = millrace("tokenize", "--tokenizer", tmp_path, "--chat", "template", input=json.dumps({"messages": messages}) + "\n")
    ours = json.loads(result.stdout)
    assert ours["text"] == text and ours["ids"] == theirs.encode(text, add_special_tokens=False)
    assert [theirs.decode(run) for run in runs_of(ours["ids"], ours["trained"])] == expected


def test_tools_beside_a_moved_system_message(millrace, tmp_path):
    theirs = write_folder(tmp_path, "mistral-small")
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}]
    messages = [SYSTEM, user("a"), assistant("b"), user("c"), assistant(None, **CALL), ANSWER, assistant("d")]
    line = json.dumps({"messages": messages, "tools": tools}) + "\n"
    ours = json.loads(millrace("tokenize", "--tokenizer", tmp_path, "--chat", "template", input=line).stdout)
    assert ours["text"] == theirs.apply_chat_template(messages, tools=tools, tokenize=False)
    call = '[TOOL_CALLS][{"name": "add", "arguments": {"a": 3, "b": "<4>"}}]</s>'
    assert [theirs.decode(run) for run in runs_of(ours["ids"], ours["trained"])] == ["b</s>", call, "d</s>"]
