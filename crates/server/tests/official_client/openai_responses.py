"""Asks a server for responses by OpenAI's own client: openai_responses.py URL KEY MODEL."""

import sys

import openai

url, key, model = sys.argv[1:]
client = openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0, timeout=60)
asked = dict(model=model, max_output_tokens=12, temperature=0, instructions="Answer.", input="Where is it?")

whole = client.responses.create(**asked)
text = whole.output_text
assert text and whole.status == "incomplete", whole
assert whole.incomplete_details.reason == "max_output_tokens", whole
assert whole.usage.output_tokens == 12, whole.usage

with client.responses.stream(**asked) as stream:
    pieces = [event.delta for event in stream if event.type == "response.output_text.delta"]
assert "".join(pieces) == text, pieces

said = [{"role": "user", "content": [{"type": "input_text", "text": "Where is it?"}]}]
assert client.responses.create(**{**asked, "input": said}).output_text == text
said += [item.model_dump() for item in whole.output] + [{"role": "user", "content": "And then?"}]
assert client.responses.create(**{**asked, "input": said}).usage.input_tokens > whole.usage.input_tokens

tool = {"type": "function", "name": "find", "parameters": {"type": "object", "properties": {}}}
try:
    client.responses.create(**asked, tools=[tool])
    raise AssertionError("the model's template takes no tools")
except openai.BadRequestError as error:
    assert error.body["param"] == "tools", error.body
