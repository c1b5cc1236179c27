"""LangChain's OpenAI classes against a hub: an answer, a stream, a tool call, structured output, embeddings."""

import json
import os

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


model = ChatOpenAI(model=os.environ["MODEL"], timeout=60, max_retries=0)
called = ChatOpenAI(model=os.environ["TOOL_MODEL"], timeout=60, max_retries=0).bind_tools([weather])
embeddings = OpenAIEmbeddings(model="default", check_embedding_ctx_length=False)
asked = called.invoke("How is the weather in Huế?")
print(
    json.dumps(
        {
            "answer": model.invoke("Hello").content,
            "streamed": "".join(str(piece.content) for piece in model.stream("Hello")),
            "tool_calls": [{"name": call["name"], "args": call["args"]} for call in asked.tool_calls],
            "embedded": [len(vector) for vector in embeddings.embed_documents(["một", "two"])],
            "usage": asked.usage_metadata["total_tokens"] > 0,
        }
    )
)
