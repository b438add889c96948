"""The chats that chat templates are rendered over: what `apply_chat_template` takes, by name."""

SYSTEM = {"role": "system", "content": "You are terse."}
ASK = {"role": "user", "content": "What is 2 + 2?"}
ANSWER = {"role": "assistant", "content": "Four."}
MORE = {"role": "user", "content": " And 3 + 3? \n"}

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a place <today> & tomorrow's",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "City, e.g. \"Zürich\""},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": ["integer", "null"], "minimum": 1},
            },
            "required": ["place"],
        },
        "return": {"type": "string", "description": "The weather."},
    },
}
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds numbers.\nAll of them.",
        "parameters": {
            "type": "object",
            "properties": {"numbers": {"type": "array", "items": {"type": "number"}, "description": "Which"}},
            "required": ["numbers"],
            "additionalProperties": False,
        },
    },
}
TOOLS = [WEATHER, ADD]


def call(name, arguments, identity="abcdef123"):
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def result(name, content, identity="abcdef123"):
    return {"role": "tool", "name": name, "tool_call_id": identity, "content": content}


WEATHER_CALL = call("weather", {"place": "Zürich", "days": 2})
ODD_ARGUMENTS = {"text": "a \"b\" 'c' \\ <d>\n", "none": None, "yes": True, "no": False, "float": 1.0, "tiny": 1e-7,
                 "huge": 1e22, "negative": -3, "list": [], "dict": {}, "nested": {"é": [1, [2, {"k": "v"}]]}}

CONVERSATIONS = {
    "one turn": {"messages": [ASK], "add_generation_prompt": True},
    "one turn, no prompt": {"messages": [ASK]},
    "system": {"messages": [SYSTEM, ASK], "add_generation_prompt": True},
    "many turns": {"messages": [ASK, ANSWER, MORE], "add_generation_prompt": True},
    "system, many turns, no prompt": {"messages": [SYSTEM, ASK, ANSWER, MORE, ANSWER]},
    "two systems": {"messages": [SYSTEM, SYSTEM, ASK], "add_generation_prompt": True},
    "roles do not alternate": {"messages": [ASK, ASK, ANSWER, ANSWER]},
    "assistant first": {"messages": [ANSWER, ASK], "add_generation_prompt": True},
    "unknown role": {"messages": [{"role": "narrator", "content": "Once"}, ASK]},
    "unicode and markup": {
        "messages": [{"role": "user", "content": "<b>\"it's\" & {{ x }} {% y %}</b>\u00a0好的 👍\u2028 É\u3000"}, ANSWER],
        "add_generation_prompt": True,
    },
    "empty content": {"messages": [{"role": "system", "content": ""}, {"role": "user", "content": ""},
                                   {"role": "assistant", "content": ""}]},
    "parts": {"messages": [{"role": "system", "content": [{"type": "text", "text": "Terse."}]},
                           {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": " b "}]}],
              "add_generation_prompt": True},
    "image": {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}],
              "add_generation_prompt": True},
    "tools": {"messages": [ASK], "tools": TOOLS, "add_generation_prompt": True},
    "tools and system": {"messages": [SYSTEM, ASK], "tools": TOOLS, "add_generation_prompt": True},
    "no tools": {"messages": [SYSTEM, ASK], "tools": [], "add_generation_prompt": True},
    "tool call": {
        "messages": [ASK, {"role": "assistant", "content": None, "tool_calls": [WEATHER_CALL]},
                     result("weather", "{\"sky\": \"blue\"}"), ANSWER, MORE],
        "tools": TOOLS,
        "add_generation_prompt": True,
    },
    "tool call with text": {
        "messages": [SYSTEM, ASK, {"role": "assistant", "content": "Let me see.", "tool_calls": [WEATHER_CALL]},
                     result("weather", "blue")],
        "tools": TOOLS,
        "add_generation_prompt": True,
    },
    "two tool calls": {
        "messages": [ASK, {"role": "assistant", "content": "",
                           "tool_calls": [WEATHER_CALL, call("add", {"numbers": [1, 2.5]}, "bcdefg234")]},
                     result("weather", "blue"), result("add", "3.5", "bcdefg234")],
        "tools": TOOLS,
        "add_generation_prompt": True,
    },
    "tool call, arguments as text": {
        "messages": [ASK, {"role": "assistant", "content": "", "tool_calls": [call("weather", "{\"place\": \"Zürich\"}")]},
                     result("weather", "blue")],
        "tools": TOOLS,
    },
    "tool call, odd arguments": {
        "messages": [ASK, {"role": "assistant", "content": "", "tool_calls": [call("weather", ODD_ARGUMENTS)]},
                     {"role": "tool", "name": "weather", "tool_call_id": "abcdef123", "content": ODD_ARGUMENTS}],
        "tools": TOOLS,
    },
    "documents": {
        "messages": [SYSTEM, ASK],
        "documents": [{"title": "Sums", "text": "2 + 2 = 4"}, {"title": "Größe", "text": "Two\nlines"}],
        "add_generation_prompt": True,
    },
    "thinking": {"messages": [SYSTEM, ASK], "enable_thinking": True, "add_generation_prompt": True},
    "no thinking": {"messages": [ASK], "enable_thinking": False, "thinking": False, "add_generation_prompt": True},
    "thoughts in the text": {
        "messages": [ASK, {"role": "assistant", "content": "<think>\nTwo and two\n</think>\n\nFour."}, MORE],
        "add_generation_prompt": True,
    },
    "thoughts beside the text": {
        "messages": [ASK, {"role": "assistant", "reasoning_content": "Two and two\n", "content": "Four."}, MORE,
                     {"role": "assistant", "reasoning": "Three", "content": "", "tool_calls": [WEATHER_CALL]},
                     result("weather", "blue")],
        "tools": TOOLS,
        "enable_thinking": True,
        "add_generation_prompt": True,
    },
    "date": {"messages": [ASK], "date_string": "6 Jul 2024", "add_generation_prompt": True},
}
