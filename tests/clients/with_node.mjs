// OpenAI's client for Node against a hub: an answer, a stream, a tool call, a response, embeddings, a file.
import { File } from "node:buffer";
import OpenAI, { toFile } from "openai";

globalThis.File ??= File; // Node 18 has it, but not as a global

const client = new OpenAI({ maxRetries: 0, timeout: 60_000 });
const model = process.env.MODEL;
const messages = [{ role: "user", content: "Hello" }];

const answer = await client.chat.completions.create({ model, messages });
let streamed = "";
for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
}
const tool = {
  type: "function",
  function: {
    name: "weather",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};
const asked = await client.chat.completions.create({ model: process.env.TOOL_MODEL, messages, tools: [tool] });
const response = await client.responses.create({ model, input: "Hello" });
const kinds = [];
for await (const event of await client.responses.create({ model, input: "Hello", stream: true })) kinds.push(event.type);
const completion = await client.completions.create({ model, prompt: "Once" });
const embedded = await client.embeddings.create({ model: "default", input: ["một", "two"] });
const file = await client.files.create({ file: await toFile(Buffer.from("a,b\n"), "a.csv"), purpose: "user_data" });
const content = await (await client.files.content(file.id)).text();
const removed = await client.files.delete(file.id);
let refused = null;
try {
  await client.chat.completions.create({ model: "no such model", messages });
} catch (error) {
  refused = [error.constructor.name, error.status, error.code];
}
console.log(
  JSON.stringify({
    answer: answer.choices[0].message.content,
    streamed,
    tool_calls: asked.choices[0].message.tool_calls.map((call) => ({
      name: call.function.name,
      args: JSON.parse(call.function.arguments),
    })),
    response: response.output_text,
    events: [kinds[0], kinds.at(-1)],
    completion: completion.choices[0].text,
    embedded: embedded.data.map((one) => one.embedding.length),
    file: [content, removed.deleted],
    refused,
    models: (await client.models.list()).data.map((one) => one.id).includes(model),
  }),
);
