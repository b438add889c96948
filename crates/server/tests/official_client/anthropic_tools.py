"""Asks a server for calls of tools by Anthropic's own client: anthropic_tools.py URL KEY MODEL. The model knows tools."""

import sys

import anthropic
import jsonschema
from tool_schemas import clock, schemas, weather

url, key, model = sys.argv[1:]
client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=300)
tools = [
    {"name": "get_weather", "description": "The weather in a city.", "input_schema": weather},
    {"name": "get_time", "description": "The time in a zone.", "input_schema": clock},
]
messages = [{"role": "user", "content": "What is the weather in Paris? Use the tool."}]


def asked(**fields):
    return dict(model=model, max_tokens=200, extra_body={"temperature": 0}, messages=messages, tools=tools) | fields


def calls_of(message):
    calls = [block for block in message.content if block.type == "tool_use"]
    assert message.stop_reason == "tool_use" and calls, message
    for call in calls:
        jsonschema.validate(call.input, schemas[call.name])
        assert call.id.startswith("toolu_"), call
    return calls


def what(calls):
    return [(call.name, call.input) for call in calls]


one = {"disable_parallel_tool_use": True}
for choice in ({"type": "auto"} | one, {"type": "any"} | one, {"type": "tool", "name": "get_time"} | one):
    message = client.messages.create(**asked(tool_choice=choice))
    [call] = calls_of(message)
    assert choice["type"] != "tool" or call.name == "get_time", call
    with client.messages.stream(**asked(tool_choice=choice)) as stream:
        events = list(stream)
        final = stream.get_final_message()
    assert what(calls_of(final)) == what([call]), final
    started = [event.content_block.type for event in events if event.type == "content_block_start"]
    stopped = [event for event in events if event.type == "content_block_stop"]
    assert started == [block.type for block in message.content] and len(stopped) == len(started), events
    pieces = [event.partial_json for event in events if event.type == "input_json"]
    assert len(pieces) > 1, pieces
    print(choice["type"], call.name, call.input)

[call] = calls_of(client.messages.create(**asked(tool_choice={"type": "tool", "name": "get_weather"} | one)))
assert call.name == "get_weather" and "Paris" in call.input["city"], call
counted = client.messages.count_tokens(model=model, messages=messages, tools=tools).input_tokens
plain = client.messages.count_tokens(model=model, messages=messages).input_tokens
answer = client.messages.create(**asked(max_tokens=1))
read = answer.usage.input_tokens + answer.usage.cache_read_input_tokens
assert counted == read and counted > plain + 50, (counted, plain, answer.usage)

said = client.messages.create(**asked(tool_choice={"type": "any"} | one))
[call] = calls_of(said)
result = {"type": "tool_result", "tool_use_id": call.id, "content": "Violet fog."}
turns = messages + [{"role": "assistant", "content": said.content}, {"role": "user", "content": [result]}]
second = client.messages.create(**asked(messages=turns, tool_choice={"type": "none"}))
assert second.stop_reason == "end_turn" and second.content[0].type == "text", second
assert "fog" in second.content[0].text, second
with client.messages.stream(**asked(messages=turns, tool_choice={"type": "none"})) as stream:
    assert "".join(stream.text_stream) == second.content[0].text
print("second turn:", second.content[0].text)

both = [{"role": "user", "content": "What is the weather in Paris and in Rome? Use the tool for each."}]
several = calls_of(client.messages.create(**asked(messages=both, tool_choice={"type": "any"})))
with client.messages.stream(**asked(messages=both, tool_choice={"type": "any"})) as stream:
    assert what(calls_of(stream.get_final_message())) == what(several), several
print("as many as it wants:", what(several))


@anthropic.beta_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    ran.append(city)
    return "Violet fog."


ran = []
common = dict(model=model, max_tokens=200, extra_body={"temperature": 0}, messages=messages)
runner = client.beta.messages.tool_runner(**common, tools=[get_weather], tool_choice={"type": "auto"} | one, max_iterations=2)
last = runner.until_done()
assert ran and "Paris" in ran[0], last
print("tools run by the client:", ran, last.content)


def refused(**fields):
    try:
        client.messages.create(**asked(**fields))
    except anthropic.BadRequestError as error:
        assert error.body["error"]["type"] == "invalid_request_error", error.body
        return error.body["error"]["message"]
    raise AssertionError(f"{fields} was accepted")


assert "`web_search_20250305`" in refused(tools=[{"type": "web_search_20250305", "name": "web_search"}])
assert call.id in refused(messages=turns[:-1])
assert call.id in refused(messages=messages + turns[-1:])
