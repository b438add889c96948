"""Asks a server by Anthropic's own client: anthropic_messages.py URL KEY MODEL."""

import sys

import anthropic

url, key, model = sys.argv[1:]
client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=60)
asked = dict(
    model=model,
    max_tokens=12,
    extra_body={"temperature": 0},
    system="Answer.",
    messages=[{"role": "user", "content": "Where is it?"}],
)

message = client.messages.create(**asked)
text = message.content[0].text
assert text and message.stop_reason == "max_tokens", message
assert message.usage.output_tokens == 12, message.usage
assert message._request_id.startswith("req_"), message._request_id

with client.messages.stream(**asked) as stream:
    assert "".join(stream.text_stream) == text
    final = stream.get_final_message()
assert final.content[0].text == text and final.stop_reason == "max_tokens", final
read = final.usage.input_tokens + final.usage.cache_read_input_tokens
assert read == message.usage.input_tokens, final.usage

counted = client.messages.count_tokens(model=model, system="Answer.", messages=asked["messages"])
assert counted.input_tokens == message.usage.input_tokens, counted


def error_of(kind, ask):
    try:
        ask()
    except kind as error:
        return error.body["error"]
    raise AssertionError(f"no {kind.__name__}")


tool = {"name": "find", "input_schema": {"type": "object", "properties": {}}}
error = error_of(anthropic.BadRequestError, lambda: client.messages.create(**asked, tools=[tool]))
assert error["type"] == "invalid_request_error" and "`tools`" in error["message"], error
error_of(anthropic.NotFoundError, lambda: client.messages.create(**{**asked, "model": "claude"}))
stranger = client.with_options(api_key="wrong")
error_of(anthropic.AuthenticationError, lambda: stranger.messages.create(**asked))
