"""Tools in Python, on the bindings that componentize-py makes for the world `tool`."""

import json
from typing import List

import wit_world
from componentize_py_types import Err
from wit_world.exports import Toolset as Exported
from wit_world.imports import blackboard, budget, session
from wit_world.imports.types import (
    Content_Text,
    Dimension,
    Error,
    ErrorKind_Denied,
    ErrorKind_NotFound,
    ErrorKind_Upstream,
    Media,
    ToolCall,
    ToolDef,
    ToolOutput,
)


def _tool(name: str, description: str, **properties: str) -> ToolDef:
    schema = {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in properties.items()},
        "required": list(properties),
    }
    return ToolDef(name, None, description, json.dumps(schema), None, None, None)


def _ask(text: str) -> str:
    """Uses what the host offers, and says what came of it."""
    session.log(session.LogLevel.INFO, f"asked {text}")
    left = budget.remaining(Dimension.TOOL_CALLS)
    try:
        space = blackboard.open("notes")
        version = space.put("asked", Media("text/plain", text.encode()), None)
        return f"{text}: version {version}, {left} left"
    except Err as refused:
        if isinstance(refused.value.kind, ErrorKind_Denied):
            return f"{text}: denied, {left} left"
        raise


class Toolset(Exported):
    """The world's one export."""

    def list_tools(self) -> List[ToolDef]:
        return [
            _tool("echo", "Says what it is told.", text="string"),
            _tool("ask", "Uses the host, and says what came of it.", text="string"),
            _tool("spin", "Never ends."),
            _tool("grow", "Takes memory until there is no more, and says how many MiB it got."),
            _tool("fail", "Fails with these words.", text="string"),
        ]

    def call(self, call: ToolCall) -> ToolOutput:
        arguments = json.loads(call.arguments)
        text = arguments.get("text", "")
        if call.name == "echo":
            answer = text
        elif call.name == "ask":
            answer = _ask(text)
        elif call.name == "spin":
            while True:
                pass
        elif call.name == "grow":
            answer = _grow()
        elif call.name == "fail":
            raise Err(Error(ErrorKind_Upstream(), text, None))
        else:
            raise Err(Error(ErrorKind_NotFound(), f"There is no tool {call.name}.", None))
        return ToolOutput([Content_Text(answer)], None, None)


def _grow() -> str:
    kept: List[bytearray] = []
    try:
        while True:
            kept.append(bytearray(1 << 20))
    except MemoryError:
        mebibytes = len(kept)
        kept.clear()
        return str(mebibytes)
