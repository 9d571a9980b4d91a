"""What the service calls: a catalog, and a model provider that speaks two dialects."""

import asyncio
import json
from collections.abc import Iterable

from tests.http.server import Exchange

EVENT_STREAM = ("HTTP/1.1 200 OK", "Content-Type: text/event-stream", "Connection: close")


async def catalog(exchange: Exchange) -> None:
    """Prices, and an event stream without end."""
    if exchange.target == "/events":
        await exchange.send(*EVENT_STREAM)
        while True:
            await exchange.send_body(b"data: tick\n\n")
            await asyncio.sleep(0.02)
    await exchange.send("HTTP/1.1 200 OK", "Content-Length: 1")
    await exchange.send_body(b"5")


async def models(exchange: Exchange) -> None:
    """Both providers: a stream of what they have to say."""
    await exchange.read_body()
    await exchange.send(*EVENT_STREAM)
    chunks = (
        openai_stream() if exchange.target.endswith("/chat/completions") else anthropic_stream()
    )
    for chunk in chunks:
        await exchange.send_body(chunk)
    exchange.close()


def openai_stream() -> Iterable[bytes]:
    """The chunks of an answer in the dialect of OpenAI."""
    for word in ("hel", "lo"):
        chunk = {
            "id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
            "choices": [{"index": 0, "delta": {"content": word}, "finish_reason": None}],
        }  # fmt: skip
        yield f"data: {json.dumps(chunk)}\n\n".encode()
    yield b"data: [DONE]\n\n"


def anthropic_stream() -> Iterable[bytes]:
    """The chunks of an answer in the dialect of Anthropic."""
    message = {
        "id": "m", "type": "message", "role": "assistant", "model": "m", "content": [],
        "stop_reason": None, "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }  # fmt: skip
    yield _event("message_start", message=message)
    yield _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    for word in ("hel", "lo"):
        delta = {"type": "text_delta", "text": word}
        yield _event("content_block_delta", index=0, delta=delta)
    yield _event("content_block_stop", index=0)
    stopped = {"stop_reason": "end_turn", "stop_sequence": None}
    yield _event("message_delta", delta=stopped, usage={"output_tokens": 2})
    yield _event("message_stop")


def _event(kind: str, **data: object) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **data})}\n\n".encode()
