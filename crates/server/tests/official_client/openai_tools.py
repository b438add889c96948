"""Asks a server for calls of functions by OpenAI's own client, as responses and as chat completions: openai_tools.py URL KEY MODEL. The model
knows tools."""

import json
import sys

import jsonschema
import openai
from tool_schemas import clock, schemas, weather

url, key, model = sys.argv[1:]
client = openai.OpenAI(base_url=url + "/v1", api_key=key, max_retries=0, timeout=300)
functions = [
    {"name": "get_weather", "description": "The weather in a city.", "parameters": weather, "strict": True},
    {"name": "get_time", "description": "The time in a zone.", "parameters": clock, "strict": True},
]
tools = [{"type": "function"} | function for function in functions]
question = {"role": "user", "content": "What is the weather in Paris? Use the tool."}


def asked(**fields):
    common = dict(model=model, max_output_tokens=200, temperature=0, input=[question], tools=tools, parallel_tool_calls=False)
    return common | fields


def calls_of(response):
    calls = [item for item in response.output if item.type == "function_call"]
    assert response.status == "completed" and calls, response
    for call in calls:
        jsonschema.validate(json.loads(call.arguments), schemas[call.name])
        assert call.id.startswith("fc_") and call.call_id.startswith("call_") and call.status == "completed", call
    return calls


def what(calls):
    return [(call.name, call.arguments) for call in calls]


for choice in ("auto", "required", {"type": "function", "name": "get_time"}):
    whole = client.responses.create(**asked(tool_choice=choice))
    [call] = calls_of(whole)
    assert choice in ("auto", "required") or call.name == "get_time", call
    with client.responses.stream(**asked(tool_choice=choice)) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert what(calls_of(final)) == what([call]), final
    added = [event.item for event in events if event.type == "response.output_item.added"]
    done = [event.item for event in events if event.type == "response.output_item.done"]
    assert [item.type for item in added] == [item.type for item in whole.output], events
    assert [item.id for item in done] == [item.id for item in added] == [item.id for item in final.output], events
    pieces = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    assert len(pieces) > 1 and "".join(pieces) == call.arguments, pieces
    [told] = [event for event in events if event.type == "response.function_call_arguments.done"]
    assert told.arguments == call.arguments and told.item_id == done[-1].id, told
    print(choice, call.name, call.arguments)

first = client.responses.create(**asked(tool_choice={"type": "function", "name": "get_weather"}))
[call] = calls_of(first)
assert "Paris" in json.loads(call.arguments)["city"], call
output = {"type": "function_call_output", "call_id": call.call_id, "output": "Violet fog."}
items = [question, *first.output, output]
second = client.responses.create(**asked(input=items, tool_choice="none"))
assert second.status == "completed" and "fog" in second.output_text, second
raw = list(client.responses.create(**asked(input=items, tool_choice="none"), stream=True))
assert "".join(event.delta for event in raw if event.type == "response.output_text.delta") == second.output_text
print("second turn:", second.output_text)

both = {"role": "user", "content": "What is the weather in Paris and in Rome? Use the tool for each."}
several = asked(input=[both], tool_choice="required", parallel_tool_calls=True)
calls = calls_of(client.responses.create(**several))
with client.responses.stream(**several) as stream:
    assert what(calls_of(stream.get_final_response())) == what(calls), calls
print("as many as it wants:", what(calls))


def refused(param, **fields):
    try:
        client.responses.create(**asked(**fields))
    except openai.BadRequestError as error:
        assert error.param == param, error.body
        return error.body["message"]
    raise AssertionError(f"{fields} was accepted")


for kind in ("web_search", "file_search", "code_interpreter"):
    assert f"`{kind}`" in refused("tools", tools=[{"type": kind}])
assert call.call_id in refused("input", input=items[:-1])
assert call.call_id in refused("input", input=[question, output])

# The same call by chat completions.
chat = client.chat.completions.create(
    model=model,
    max_tokens=200,
    temperature=0,
    messages=[question],
    tools=[{"type": "function", "function": function} for function in functions],
    tool_choice={"type": "function", "function": {"name": "get_weather"}},
    parallel_tool_calls=False,
)
[chat_call] = chat.choices[0].message.tool_calls
assert (chat_call.function.name, chat_call.function.arguments) == (call.name, call.arguments), chat_call
