"""Writes chats as Hugging Face transformers renders them, with the templates inside GGUF files, with small ones that
each use a feature published templates need, and with those of a folder, over the chats of `chat_conversations.py`.

    python scripts/reference/chat_template_vectors.py models/*.gguf \
        --out crates/runtime/tests/reference/chat_template.json

    # Renders every NAME.jinja of a folder into expected.json there; the test reads it, and that of CHAT_TEMPLATES=FOLDER.
    python scripts/reference/chat_template_vectors.py --folder crates/runtime/tests/reference/chat_templates

Needs transformers, jinja2 and gguf. The models' own templates are not stored, only what they make of the chats.
"""

import argparse
import json
import pathlib

import gguf
import jinja2
import tokenizers
import transformers
from chat_conversations import CONVERSATIONS
from transformers.utils.chat_template_utils import render_jinja_template

CHATS = [
    [("user", "Hi")],
    [("system", "You are terse."), ("user", "What is 2 + 2?")],
    [("user", "one"), ("assistant", "two"), ("user", " three \n")],
    [("system", ""), ("user", "<b>\"it's\" & more</b> {{ not_a_tag }} {% nor this %}"), ("assistant", "好的 👍")],
]

FEATURES = {
    "trim and lstrip blocks": "{% for m in messages %}\n    {% if m.role == 'user' %}\n  U: {{ m.content }}\n    {% endif %}\n{% endfor %}\nend\n",
    "whitespace control": "a  {%- if true -%}  b  {%- endif -%}  c {{- ' d ' -}} e",
    "namespace": "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}",
    "loop variables": "{% for m in messages %}{{ loop.index0 }}{{ loop.index }}{{ loop.first }}{{ loop.last }};{% endfor %}",
    "slices": "{% for m in messages[1:] %}{{ m['role'] }} {% endfor %}{{ messages[-1].role }} {% for m in messages[::-1] %}{{ m.role }} {% endfor %}",
    "string methods": "{{ ' a '.strip() }}|{{ 'xxaxx'.lstrip('x') }}|{{ 'a</t>b'.split('</t>')[-1] }}|{{ 'abc'.startswith('ab') }}|{{ 'abc'.upper() }}|{{ 'a-b'.replace('-', '+') }}|{{ 'a,b,c'.split(',', 1)[1] }}|{{ 'title me'.title() }}",
    "tests": "{{ tools is defined }} {{ tools is none }} {{ nothing is defined }} {{ 'a' is string }} {{ messages is iterable }} {{ {} is mapping }} {{ messages[0].tool_calls is defined }}",
    "filters": "{{ ' a ' | trim }} {{ messages | length }} {{ 'a' | upper }} {{ ['a', 'b'] | join('-') }} {{ none | default('d', true) }} {{ messages | map(attribute='role') | list | length }} {{ (messages | selectattr('role', 'equalto', 'user') | list)[0].content }}",
    "tojson": "{{ {'b': [1, 2.5, true, none], 'a': '<\\'&\"> é\n'} | tojson }} {{ [] | tojson }} {{ {} | tojson }}",
    "tojson indent": "{{ {'b': [1, {'c': []}], 'a': {}} | tojson(indent=4) }}",
    "macro": "{% macro say(m, end='!') %}{{ m.role ~ ':' ~ m.content }}{{ end }}{% endmacro %}{{ say(messages[0]) }}{{ say(messages[0], end='?') }}",
    "loop controls": "{% for m in messages %}{% if loop.index > 1 %}{% break %}{% endif %}{{ m.role }}{% endfor %}",
    "special tokens": "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}",
    "inline if and tests of membership": "{{ 'y' if 'user' in messages[0].role else 'n' }}{{ 'z' if false }}{{ not true }} {{ 7 // 2 }} {{ 7 % 2 == 1 }}",
    "dict items": "{% for k, v in {'a': 1, 'b': 2}.items() %}{{ k }}={{ v }} {% endfor %}{{ messages[0].get('name', 'nobody') }}",
    "refusal": "{{ raise_exception('Conversation roles must alternate') }}",
    "generation prompt": "{% if add_generation_prompt %}assistant{% endif %}",
    "no trailing newline": "x\n\n",
}
BOS, EOS = "<s>", "</s>"
MADE_BY = f"transformers {transformers.__version__}, jinja2 {jinja2.__version__}"


def render(template, chat, add_generation_prompt, bos, eos):
    messages = [{"role": role, "content": content} for role, content in chat]
    try:
        rendered, _ = render_jinja_template(
            conversations=[messages],
            chat_template=template,
            add_generation_prompt=add_generation_prompt,
            bos_token=bos,
            eos_token=eos,
        )
        return rendered[0]
    except jinja2.TemplateError as error:
        return {"error": str(error)}


def of_conversation(tokenizer, template, inputs):
    try:
        return tokenizer.apply_chat_template(
            inputs["messages"], chat_template=template, tokenize=False, **{k: v for k, v in inputs.items() if k != "messages"}
        )
    except Exception as error:  # Templates fail as Python does, with anything.
        # Only what a template says itself is to be said again.
        return {"error": str(error) if type(error) is jinja2.TemplateError else ""}


def of_folder(folder):
    nothing = tokenizers.Tokenizer(tokenizers.models.WordLevel({}, unk_token=None))
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=nothing, bos_token=BOS, eos_token=EOS)
    expected = {
        path.name: [of_conversation(tokenizer, path.read_bytes().decode(), inputs) for inputs in CONVERSATIONS.values()]
        for path in sorted(folder.glob("*.jinja"))
    }
    vectors = {
        "made_by": MADE_BY,
        "conversations": [{"name": name, "inputs": inputs} for name, inputs in CONVERSATIONS.items()],
        "templates": expected,
    }
    (folder / "expected.json").write_text(json.dumps(vectors, ensure_ascii=False, indent=1) + "\n")
    print(f"{len(expected)} templates, {len(CONVERSATIONS)} conversations")


def of_model(path):
    reader = gguf.GGUFReader(path)
    value = lambda key: reader.fields["tokenizer." + key].contents()
    tokens = value("ggml.tokens")
    bos, eos = tokens[value("ggml.bos_token_id")], tokens[value("ggml.eos_token_id")]
    template = value("chat_template")
    return [[render(template, chat, prompt, bos, eos) for prompt in (False, True)] for chat in CHATS]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gguf", type=pathlib.Path, nargs="*")
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--folder", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.folder:
        of_folder(arguments.folder)
    if not arguments.out:
        return
    vectors = {
        "made_by": MADE_BY,
        "chats": [[{"role": role, "content": content} for role, content in chat] for chat in CHATS],
        "models": {path.name: of_model(path) for path in arguments.gguf},
        "features": [
            {"feature": feature, "template": template, "rendered": render(template, CHATS[1], True, BOS, EOS)}
            for feature, template in FEATURES.items()
        ],
    }
    arguments.out.write_text(json.dumps(vectors, ensure_ascii=False, indent=1) + "\n")
    print(f"{len(vectors['features'])} features, {len(vectors['models'])} models")


if __name__ == "__main__":
    main()
