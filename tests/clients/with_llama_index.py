"""LlamaIndex's OpenAI classes against a hub: an answer, a stream, a tool call, embeddings."""

import json
import os

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai import OpenAIEmbedding
from llama_index.llms.openai import OpenAI
from llama_index.llms.openai_like import OpenAILike


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


def llm(name: str) -> OpenAI:
    return OpenAILike(
        model=name,
        api_base=os.environ["OPENAI_BASE_URL"],
        api_key=os.environ["OPENAI_API_KEY"],
        is_chat_model=True,
        is_function_calling_model=True,
        context_window=4096,
        max_retries=0,
    )


hello = [ChatMessage(role="user", content="Hello")]
embedder = OpenAIEmbedding(
    model_name="default", api_base=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"]
)
called = llm(os.environ["TOOL_MODEL"])
asked = called.chat_with_tools([FunctionTool.from_defaults(weather)], user_msg="How is the weather in Huế?")
calls = called.get_tool_calls_from_response(asked)
print(
    json.dumps(
        {
            "answer": llm(os.environ["MODEL"]).chat(hello).message.content,
            "streamed": "".join(piece.delta or "" for piece in llm(os.environ["MODEL"]).stream_chat(hello)),
            "tool_calls": [{"name": call.tool_name, "args": call.tool_kwargs} for call in calls],
            "embedded": [len(vector) for vector in embedder.get_text_embedding_batch(["một", "two"])],
        }
    )
)
